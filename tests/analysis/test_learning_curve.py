"""What a probe learns from parts of the images.

Shapes: N images, D features, S sizes.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from finetune_advisor.analysis import learning_curve as module
from finetune_advisor.analysis.learning_curve import Curve, learning_curve
from finetune_advisor.probes import logistic

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


def clouds(images: int, *, signal: float, features: int = 20, classes: int = 3, seed: int = 0) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    labels_N: Ints = np.arange(images) % classes
    return signal * np.eye(classes, features)[labels_N] + rng.normal(size=(images, features)), labels_N


def curve(x_ND: Floats, labels_N: Ints, *, family_N: Ints | None = None, classes: int = 3, seed: int = 0) -> Curve:
    return learning_curve(
        x_ND.__getitem__,
        labels_N,
        family_N=np.arange(len(labels_N)) if family_N is None else family_N,
        classes=classes,
        strength=1e-2,
        images=len(labels_N),
        seed=seed,
        device="cpu",
    )


def test_more_images_help_and_ten_times_as_many_would_help_more() -> None:
    found = curve(*clouds(300, signal=1.7))
    accuracies = [point.accuracy for point in found.points]
    assert [round(point.images) for point in found.points] == pytest.approx([15, 30, 60, 120, 240], abs=3)
    assert accuracies[0] < accuracies[2] < accuracies[-1] + 0.01
    assert found.power_law is not None and found.forecast is not None
    assert found.forecast.images == 3000
    assert found.forecast.low <= found.forecast.accuracy <= found.forecast.high
    assert found.forecast.accuracy > accuracies[-1]


def test_the_forecast_is_about_what_ten_times_the_images_then_bring() -> None:
    x_ND, labels_N = clouds(4000, signal=1.7)
    found = curve(x_ND[:300], labels_N[:300]).forecast
    later = LogisticRegression(C=0.1).fit(x_ND[:3000], labels_N[:3000]).score(x_ND[3000:], labels_N[3000:])
    assert found is not None
    assert found.low - 0.03 < later < found.high + 0.03


def test_the_last_point_is_the_accuracy_on_folds() -> None:
    x_ND, labels_N = clouds(300, signal=1.7)
    fold_N = np.arange(300) // 3 % 5
    whole = logistic.cross_validate(x_ND, labels_N, fold_N, strengths=(1e-2,), classes=3).accuracies()[0]
    assert curve(x_ND, labels_N).points[-1].accuracy == pytest.approx(whole, abs=0.03)


def test_relatives_are_on_one_side() -> None:
    """Sixty pictures, each ten times, with labels drawn by lot: only who saw a relative can answer."""
    rng = np.random.default_rng(0)
    family_N: Ints = np.repeat(np.arange(60), 10)
    labels_N: Ints = np.repeat(np.arange(60) % 3, 10)
    x_ND = rng.normal(size=(60, 80))[family_N] + 0.01 * rng.normal(size=(600, 80))
    assert curve(x_ND, labels_N).points[-1].accuracy > 0.85
    assert curve(x_ND, labels_N, family_N=family_N).points[-1].accuracy < 0.6


def test_every_class_is_in_the_smallest_subset() -> None:
    _, labels_N = clouds(120, signal=5)
    labels_N[labels_N == 2] = 0
    labels_N[:6] = 2
    orders = module._chains(labels_N, np.arange(120), 0)[1]
    small_N, large_N = (module._subset(orders[0], labels_N, fraction) for fraction in (1 / 16, 1 / 4))
    assert set(labels_N[small_N > 0]) == {0, 1, 2}
    assert np.all(large_N[small_N > 0] == 1), "a smaller subset is part of a larger one"


@pytest.mark.parametrize(
    ("signal", "images", "reason"), [(50.0, 120, "no errors"), (0.0, 150, "do not help"), (2.0, 15, "points")]
)
def test_where_points_determine_no_law_there_is_none_and_the_reason_is_told(
    signal: float, images: int, reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signal == 0:
        monkeypatch.setattr(module, "_accuracies", lambda *_: (np.arange(1.0, 6), np.full((15, 5), 0.3)))
    with caplog.at_level(logging.INFO):
        found = curve(*clouds(images, signal=signal))
    assert found.power_law is None and found.forecast is None
    assert reason in caplog.text


def test_more_images_than_can_be_used_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IMAGES", 90)
    found = curve(*clouds(300, signal=1.7))
    assert found.points[-1].images == pytest.approx(72, abs=2)
    assert found.forecast is None or found.forecast.images == 3000, "the forecast is of the whole data set"


def test_a_thousand_classes_cost_no_time() -> None:
    labels_N: Ints = np.arange(3000) % 1000
    assert curve(np.zeros((3000, 4)), labels_N, classes=1000).points == ()
