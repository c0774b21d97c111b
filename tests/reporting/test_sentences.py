"""Sentences carry the numbers of the profile."""

from __future__ import annotations

import pytest

from finetune_advisor.records.profile import Profile, ViewEffect
from finetune_advisor.reporting.sentences import accuracy_now, duration, gain_sentence, percent, view_sentence


def test_the_gain_is_the_forecast_less_what_the_law_says_of_today(full: Profile) -> None:
    now = 1 - (0.06 + 1.1 / 800**0.45)
    assert accuracy_now(full.size) == pytest.approx(now)
    gain, low, high = (100 * (value - now) for value in (0.921, 0.909, 0.931))
    assert (
        gain_sentence(full.size)
        == f"ten times the images would bring about {gain:+.1f} points [{low:+.1f}, {high:+.1f}]"
    )


def test_without_a_law_the_last_point_is_today(full: Profile) -> None:
    assert accuracy_now(full.size.model_copy(update={"power_law": None})) == 0.885


def test_without_a_curve_nothing_is_promised(bare: Profile) -> None:
    assert gain_sentence(bare.size) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (41.2, "41 s"), (150, "2 min"), (8000, "2.2 h")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("probability", "text"), [(1.0, "> 99 %"), (0.0, "< 1 %"), (0.834, "83 %"), (float("nan"), "–")]
)
def test_a_probability_never_claims_certainty(probability: float, text: str) -> None:
    assert percent(probability).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("transferred", "refitted", "expected"),
    [
        (
            0.889,
            0.893,
            "do as well. Added to the training images, it makes no difference that could be told from chance",
        ),
        (0.84, 0.872, "lose 5.0 points. Added to the training images, it costs 1.8 points"),
        (0.89, 0.92, "do as well. Added to the training images, it brings 3.0 points"),
    ],
)
def test_what_a_view_does(transferred: float, refitted: float, expected: str) -> None:
    effect = ViewEffect(
        view="vertical_flip",
        images=100,
        accuracy=0.89,
        transferred=transferred,
        refitted=refitted,
        std=0.006,
        transferred_std=0.006,
    )
    assert expected in view_sentence(effect)
