"""Size and similarity point to a cell; the verdicts say how surely, and what its recipe should score."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from finetune_advisor.advice.calibration import Amount, Calibration, SimilarityBorder, calibration
from finetune_advisor.advice.table import CELLS, best_probe, place, predict
from finetune_advisor.artifacts.profile import Cell, Predicted, Profile

MakeProfile = Callable[..., Profile]

BORDERS = Calibration(amount=Amount(plenty_per_class=100), similarity=SimilarityBorder(similar=0.8))


@pytest.mark.parametrize(
    ("per_class", "score", "cell"),
    [
        (10, 0.95, "linear_probe"),
        (99, 0.80, "linear_probe"),
        (10, 0.10, "stage_probe"),
        (99, 0.79, "stage_probe"),
        (100, 0.80, "few_layers"),
        (5000, 1.0, "few_layers"),
        (100, 0.79, "many_layers"),
        (5000, 0.0, "many_layers"),
    ],
)
def test_the_cell_of_every_corner_and_border(
    make_profile: MakeProfile, per_class: int, score: float, cell: Cell
) -> None:
    placed = place(make_profile(per_class=per_class, score=score), BORDERS)
    assert placed.cell == cell
    assert CELLS[str(placed.size.verdict), str(placed.similarity.verdict)] == cell
    assert (placed.size.threshold, placed.similarity.threshold) == (100, 0.8)


@pytest.mark.parametrize(
    ("per_class", "score", "cell"),
    [
        (122, 0.96, "linear_probe"),  # ants and bees
        (76, 0.78, "stage_probe"),  # brain MRI
        (80, 0.67, "stage_probe"),  # ten textures
        (149, 0.28, "stage_probe"),  # tile defects
    ],
)
def test_the_shipped_borders_put_the_measured_data_where_their_file_says(
    make_profile: MakeProfile, per_class: int, score: float, cell: Cell
) -> None:
    assert place(make_profile(per_class=per_class, score=score)).cell == cell


def test_the_shipped_borders_are_usable() -> None:
    assert calibration().amount.plenty_per_class > 0
    assert 0 < calibration().similarity.similar < 1


def test_placing_adds_verdicts_and_changes_no_measurement(make_profile: MakeProfile) -> None:
    before = make_profile()
    after = place(before)
    added = {"verdict", "threshold", "confidence"}
    assert before.cell is None and before.size.verdict is None
    assert after.model_dump(exclude={"cell", "predicted", "size", "similarity"}) == before.model_dump(
        exclude={"cell", "predicted", "size", "similarity"}
    )
    assert after.size.model_dump(exclude=added) == before.size.model_dump(exclude=added)
    assert after.similarity.model_dump(exclude=added) == before.similarity.model_dump(exclude=added)


def test_a_placed_profile_placed_again_is_the_same(make_profile: MakeProfile) -> None:
    placed = place(make_profile())
    assert place(placed) == placed


def confidence(profile: Profile) -> float:
    found = place(profile, BORDERS).similarity.confidence
    assert found is not None
    return found


def test_confidence_falls_to_one_half_at_the_border(make_profile: MakeProfile) -> None:
    assert confidence(make_profile(score=0.8)) == pytest.approx(0.5)
    far, near = (confidence(make_profile(score=score, spread=0.1)) for score in (0.95, 0.82))
    assert 0.5 < near < far < 1
    below, above = (confidence(make_profile(score=score, spread=0.1)) for score in (0.75, 0.85))
    assert below == pytest.approx(above)


def test_a_wide_interval_makes_less_sure_and_none_makes_certain(make_profile: MakeProfile) -> None:
    wide, narrow = (confidence(make_profile(score=0.85, spread=spread)) for spread in (0.2, 0.02))
    assert wide < narrow
    assert confidence(make_profile(score=0.85, spread=0.0)) == pytest.approx(1.0)


@pytest.mark.parametrize("accuracy", [0.0, 0.03, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("std", [0.0, 0.004, 0.2])
@pytest.mark.parametrize("per_class", [2, 50, 5000])
def test_the_predicted_interval_contains_the_point_and_stays_a_share(
    make_profile: MakeProfile, accuracy: float, std: float, per_class: int
) -> None:
    profile = make_profile(per_class=per_class, probes={"pooled": (accuracy, 0.4)}, std=std)
    predicted = place(profile).predicted
    assert predicted is not None
    assert 0 <= predicted.low <= predicted.accuracy == accuracy <= predicted.high <= 1
    assert predicted.high - predicted.low > 0, "no number of images makes certain"


def width(predicted: Predicted) -> float:
    return predicted.high - predicted.low


def test_more_images_narrow_the_prediction_and_spread_over_folds_widens_it(make_profile: MakeProfile) -> None:
    few, many = (predict(make_profile(per_class=n, std=0.0), "linear_probe") for n in (20, 2000))
    spread = predict(make_profile(per_class=2000, std=0.05), "linear_probe")
    assert width(many) < width(few)
    assert width(many) < width(spread)
    assert width(spread) == pytest.approx(2 * 1.96 * 0.05, rel=0.1)


def test_the_prediction_is_that_of_the_probe_nearest_to_the_recipe(make_profile: MakeProfile) -> None:
    profile = make_profile(probes={"stem": (0.8, 0.2), "pooled": (0.7, 0.6), "all": (0.75, 0.5)})
    assert best_probe(profile.probes).stage == "stem"
    assert predict(profile, "linear_probe").accuracy == 0.7
    assert predict(profile, "stage_probe").accuracy == 0.8
    assert "the stem probe" in predict(profile, "few_layers").basis
    assert "training layers" in predict(profile, "many_layers").basis
    assert "training layers" not in predict(profile, "stage_probe").basis


def test_one_dominant_class_leaves_fewer_classes_to_tell_apart(make_profile: MakeProfile) -> None:
    """The amount counts by effective classes: 900 images of which 71 % are one class are not six times 150."""
    even = make_profile(per_class=150)
    uneven = even.model_copy(update={"size": even.size.model_copy(update={"effective_classes": 1.2})})
    assert place(even).size.verdict == "little"
    assert place(uneven).size.verdict == "plenty"
