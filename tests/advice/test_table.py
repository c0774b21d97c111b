"""Size and similarity point to a cell; the verdicts say how surely, and what its recipe should score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from finetune_advisor.advice.table import (
    CELLS,
    Amount,
    Calibration,
    Curve,
    SimilarityBorder,
    best_probe,
    calibration,
    cell_probabilities,
    place,
    predict,
)
from finetune_advisor.records.health import FoldLeak
from finetune_advisor.records.profile import Cell, Predicted, Profile

MakeProfile = Callable[..., Profile]

BORDERS = Calibration(
    amount=Amount(
        plenty_per_class=100,
        per_decade=2,
        spread_decades=0.3,
        curve=Curve(usual_reduction=0.5, spread_reduction=0.2, decades_per_reduction=0.4),
    ),
    similarity=SimilarityBorder(similar=0.8, spread=0.05),
)


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
    assert (placed.size.threshold, placed.similarity.threshold) == (0.5, 0.8)
    assert (placed.size.amount >= 0.5) == (placed.size.verdict == "plenty")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("per_class", "score", "cell"),
    [
        (122, 0.96, "linear_probe"),  # ants and bees
        (76, 0.78, "stage_probe"),  # food
        (80, 0.67, "stage_probe"),  # ten textures
        (144, 0.16, "stage_probe"),  # handwritten digits
        (314, 0.28, "many_layers"),  # tile defects
        (20, 0.54, "stage_probe"),  # CIFAR-10, 20 images a class
        (5000, 0.54, "many_layers"),  # CIFAR-10
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
    added = {"verdict", "threshold", "confidence", "amount", "counted_per_class", "plenty_per_class"}
    judged = {"cell", "predicted", "size", "similarity", "confidence", "neighbors"}
    assert before.cell is None and before.size.verdict is None
    assert after.model_dump(exclude=judged) == before.model_dump(exclude=judged)
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


def test_a_wide_interval_makes_less_sure_and_an_exact_score_leaves_the_doubt_about_the_border(
    make_profile: MakeProfile,
) -> None:
    wide, narrow, exact = (confidence(make_profile(score=0.85, spread=spread)) for spread in (0.2, 0.02, 0.0))
    assert wide < narrow < exact == pytest.approx(norm.cdf(0.05 / 0.05))


@pytest.mark.parametrize(("per_class", "score", "spread"), [(60, 0.95, 0.02), (150, 0.7, 0.1), (5000, 0.81, 0.3)])
def test_the_probability_of_a_cell_is_that_of_two_normal_deviates(
    make_profile: MakeProfile, per_class: int, score: float, spread: float
) -> None:
    plenty = norm.cdf((np.log10(per_class) - 2) / np.hypot(0.3, 0.4 * 0.2))
    similar = norm.cdf((score - 0.8) / np.hypot(0.05, spread / norm.ppf(0.975)))
    placed = place(make_profile(per_class=per_class, score=score, spread=spread), BORDERS)
    expected = {
        "linear_probe": (1 - plenty) * similar,
        "stage_probe": (1 - plenty) * (1 - similar),
        "few_layers": plenty * similar,
        "many_layers": plenty * (1 - similar),
    }
    assert dict(cell_probabilities(placed, BORDERS)) == pytest.approx(expected)
    assert sum(cell_probabilities(placed, BORDERS).values()) == pytest.approx(1)
    assert placed.confidence == pytest.approx(expected[str(placed.cell)])


def test_a_cell_far_from_all_borders_has_no_neighbors(make_profile: MakeProfile) -> None:
    placed = place(make_profile(per_class=5000, score=0.1))
    assert placed.confidence is not None and placed.confidence > 0.99
    assert placed.neighbors == ()


def test_neighbors_say_what_would_decide(make_profile: MakeProfile) -> None:
    placed = place(make_profile(per_class=122, score=0.95))
    assert placed.cell == "linear_probe"
    assert [neighbor.cell for neighbor in placed.neighbors] == ["stage_probe", "few_layers"]
    by_similarity, by_amount = (neighbor.decides for neighbor in placed.neighbors)
    assert (
        "stage_probe begins below a similarity of 0.93 (here 0.95)" in by_similarity
        and "analyze DATA --strategy stage_probe -o stage_probe.yaml" in by_similarity
    )
    assert (
        "few_layers begins at 200 images per class (here 122)" in by_amount
        and "analyze DATA --strategy few_layers" in by_amount
    )
    assert all(0.1 <= neighbor.probability < placed.confidence for neighbor in placed.neighbors)  # type: ignore[operator]


def test_the_expectation_says_when_the_folds_may_lie(make_profile: MakeProfile) -> None:
    leak = FoldLeak(families=2, images_in_families=5, suspicious=True, sign="216 groups of 895 images look alike.")
    warned = predict(make_profile(leak=leak), "linear_probe")
    assert "216 groups of 895 images look alike" in warned.basis
    sound = predict(make_profile(leak=leak.model_copy(update={"suspicious": False})), "linear_probe")
    assert "folds may" not in sound.basis


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
    assert "(stem) on held-out folds" in predict(profile, "few_layers").basis
    assert "with layers trained it may be higher or lower" in predict(profile, "many_layers").basis
    assert "layers" not in predict(profile, "stage_probe").basis


def test_one_dominant_class_leaves_fewer_classes_to_tell_apart(make_profile: MakeProfile) -> None:
    """The amount counts by effective classes: 900 images of which 71 % are one class are not six times 150."""
    even = make_profile(per_class=150)
    uneven = even.model_copy(update={"size": even.size.model_copy(update={"effective_classes": 1.2})})
    assert place(even).size.verdict == "little"
    assert place(uneven).size.verdict == "plenty"
