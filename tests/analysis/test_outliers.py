import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist

from finetune_advisor.analysis.outliers import nearest, outliers


def cloud(images: int = 200, features: int = 12, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(3, 2, (images, features))


def test_neighbors_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    x_ND = cloud(80)
    standard_ND = (x_ND - x_ND.mean(0)) / x_ND.std(0) / np.sqrt(12)
    distance_NN = cdist(standard_ND, standard_ND)
    family_N = np.arange(80) // 2
    distance_NN[family_N[:, None] == family_N] = np.inf
    expected_Nn = np.sort(distance_NN, axis=1)[:, :4]
    monkeypatch.setattr("finetune_advisor.analysis.outliers.WORKING_FLOATS", 500)
    np.testing.assert_allclose(nearest(x_ND, 4, family_N=family_N), expected_Nn, atol=1e-5)
    some_Q = np.array([5, 70])
    np.testing.assert_allclose(nearest(x_ND, 4, family_N=family_N, query_Q=some_Q), expected_Nn[some_Q], atol=1e-5)


def test_an_image_far_from_all_others_is_named_first() -> None:
    x_ND = cloud()
    x_ND[17] += 60
    x_ND[99] -= 30
    found = outliers(x_ND)
    assert [place for place, _ in found] == [17, 99]
    assert found[0][1] > found[1][1] > 3


def test_an_outlier_and_its_copies_are_still_far_from_all_others() -> None:
    x_ND = cloud()
    x_ND[:6] = x_ND[0] + 60
    family_N = np.maximum(np.arange(200) - 5, 0)
    assert 0 in dict(outliers(x_ND, family_N=family_N))
    assert outliers(x_ND) == ()


def test_ordinary_images_are_no_outliers_and_never_are_there_many() -> None:
    assert outliers(cloud()) == ()
    assert outliers(cloud(10)) == (), "too few to know what is usual"
    assert outliers(np.ones((50, 4))) == (), "all alike"
    x_ND = cloud(400)
    x_ND[:20] *= np.linspace(20, 90, 20)[:, None]
    assert len(outliers(x_ND)) == 4


def test_one_family_has_no_outliers() -> None:
    assert outliers(cloud(), family_N=np.zeros(200, int)) == ()
