"""Where each kind of preprocessing takes its numbers from.

Shapes: N images, D numbers of an image.
"""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from finetune_advisor.techniques.base import Colors
from finetune_advisor.techniques.preprocessing import Backbone, Data, MinMax, PcaWhitening, Preprocess

CONFIG = {
    "input_size": (3, 160, 160),
    "mean": (0.1, 0.2, 0.3),
    "std": [0.4, 0.5, 0.6],
    "interpolation": "bilinear",
    "crop_pct": 0.9,
}
COLORS = Colors((0.7, 0.6, 0.5), ((0.04, 0.0, 0.0), (0.0, 0.09, 0.0), (0.0, 0.0, 0.0)))


def test_size_and_fit_are_the_recipe_s_and_the_rest_the_backbone_s() -> None:
    assert Backbone(size=128, fit="pad").resolve(CONFIG) == Preprocess(
        size=128, fit="pad", crop_pct=0.9, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )


def test_a_number_the_backbone_does_not_give_is_not_made_up() -> None:
    with pytest.raises(KeyError, match="mean"):
        Backbone().resolve({key: value for key, value in CONFIG.items() if key != "mean"})


def test_the_filter_of_the_pretraining_can_be_replaced() -> None:
    assert Backbone(interpolation="lanczos").resolve(CONFIG).interpolation == "lanczos"


def test_the_data_s_own_statistics_are_those_of_the_training_images() -> None:
    found = Data().resolve(CONFIG, lambda: COLORS)
    assert found.mean == COLORS.mean
    assert found.std == pytest.approx((0.2, 0.3, 1 / 255)), "a channel that never varies is not blown up"
    assert found.crop_pct == 0.9


def test_min_max_brings_black_to_minus_one_and_white_to_one() -> None:
    found = MinMax().resolve(CONFIG)
    for pixel, wanted in ((0.0, -1.0), (1.0, 1.0)):
        assert [(pixel - m) / s for m, s in zip(found.mean, found.std, strict=True)] == [wanted] * 3


def test_whitening_takes_the_mean_color_off_and_leaves_the_scale_to_its_matrix() -> None:
    found = PcaWhitening().resolve(CONFIG, lambda: COLORS)
    assert (found.mean, found.std) == (COLORS.mean, (1.0, 1.0, 1.0))


def correlated(images: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(images, 12)) @ rng.normal(size=(12, 12)) * np.geomspace(1, 0.03, 12)


def test_whitened_data_has_the_identity_for_its_covariance() -> None:
    x_ND = correlated()
    white_ND = (x_ND - x_ND.mean(axis=0)) @ PcaWhitening(epsilon=1e-12).matrix(np.cov(x_ND.T, bias=True))
    np.testing.assert_allclose(np.cov(white_ND.T, bias=True), np.eye(12), atol=1e-6)


def test_it_is_the_formula_of_the_slides_rotated_back_into_pixels() -> None:
    """`Xwhite = Xrot / np.sqrt(S + 1e-5)`; the rotation changes neither lengths nor angles."""
    x_ND = correlated()
    x_ND -= x_ND.mean(axis=0)
    covariance_DD = x_ND.T @ x_ND / len(x_ND)
    vector_DD, s_D, _ = np.linalg.svd(covariance_DD)
    white_ND = x_ND @ vector_DD / np.sqrt(s_D + 1e-5)
    matrix_DD = PcaWhitening().matrix(covariance_DD)
    np.testing.assert_allclose(x_ND @ matrix_DD, white_ND @ vector_DD.T, atol=1e-6)
    np.testing.assert_allclose(matrix_DD, matrix_DD.T, atol=1e-9)


def test_epsilon_holds_down_what_hardly_varies() -> None:
    rng = np.random.default_rng(0)
    x_ND = np.column_stack([rng.normal(0, 1.0, 1000), rng.normal(0, 1e-3, 1000)])
    covariance_DD = np.cov(x_ND.T, bias=True)
    signal, noise = (x_ND @ PcaWhitening(epsilon=1e-2).matrix(covariance_DD)).std(axis=0)
    assert signal == pytest.approx(1.0, abs=0.01)
    assert noise == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("size", [8, 64])
def test_whitening_is_for_small_images(size: int) -> None:
    with pytest.raises(ValidationError):
        PcaWhitening(size=size)
