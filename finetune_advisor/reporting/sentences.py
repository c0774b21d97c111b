"""Sentences about a profile or an ensemble that the terminal and the page share."""

from __future__ import annotations

import math

from finetune_advisor.records.ensemble import Gain
from finetune_advisor.records.metrics import counted_images
from finetune_advisor.records.profile import PowerLaw, Size, View, ViewEffect

SAME = 0.005
"""Accuracies nearer than this are called the same: less than folds of a few hundred images can tell apart."""

SURE = 2.0
"""Standard errors from which a difference is more than chance."""

FORECAST_HOLDS = "It is for images that are not near-duplicates of the training images."
"""Which images the expected accuracy is of."""

SPACE = "\N{NO-BREAK SPACE}"
"""Between a number and its unit."""

VIEW_NAMES: dict[View, str] = {
    "horizontal_flip": "mirrored left to right",
    "vertical_flip": "upside down",
    "rotation_90": "turned by 90°",
    "gray": "gray",
    "pad": "padded instead of cropped",
    "small": "at 128 pixels",
}
"""How a view is called in a sentence."""

_FIT_ALONE: frozenset[View] = frozenset({"pad", "small"})
"""Views that replace the usual one; the others are added to it."""


def law(power: PowerLaw, images: float) -> float:
    """Accuracy that a fitted power law gives for a number of images."""
    return float(1 - (power.floor + power.scale * images**-power.exponent))


def gain_sentence(size: Size) -> str | None:
    """What ten times the images would bring, None where no curve was fitted."""
    now = accuracy_now(size)
    if size.forecast is None or now is None:
        return None
    values = (size.forecast.accuracy, size.forecast.low, size.forecast.high)
    gain, low, high = (100 * (value - now) for value in values)
    return f"ten times the images would bring about {gain:+.1f} points [{low:+.1f}, {high:+.1f}]"


def accuracy_now(size: Size) -> float | None:
    """Accuracy of a probe on as many images as there are: by the law, else the last point of the curve."""
    if size.power_law is not None and size.forecast is not None:
        return law(size.power_law, size.forecast.images / 10)
    return size.learning_curve[-1].accuracy if size.learning_curve else None


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


def view_sentence(effect: ViewEffect) -> str:
    """What a view does to the accuracy, and what that means."""
    if effect.majority is not None and not effect.beats_majority:
        return f"Nothing could be measured: always naming the largest class scores {effect.majority:.3f}."
    lost = 100 * (effect.accuracy - effect.transferred)
    gain = 100 * (effect.refitted - effect.accuracy)
    what = "Fitted on it" if effect.view in _FIT_ALONE else "Added to the training images"
    seen = "The same classifiers do as well" if lost < 100 * SAME else f"The same classifiers lose {lost:.1f} points"
    if abs(gain) < SURE * 100 * effect.std or abs(gain) < 100 * SAME:
        return f"{seen}. {what}, it makes no difference that could be told from chance ({gain:+.1f})."
    return f"{seen}. {what}, it {'brings' if gain > 0 else 'costs'} {abs(gain):.1f} points."


def ensemble_gain(gain: Gain) -> str:
    """What several models gain over the best of them, with its interval."""
    points = f"{100 * gain.gain:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] "
    points += f"on {counted_images({'images': gain.images, 'accuracy_groups': gain.groups})}"
    return f"{points}: they cannot be told apart" if gain.low <= 0 <= gain.high else points


def percent(probability: float) -> str:
    """A probability in whole percent that never claims certainty."""
    if math.isnan(probability):
        return "–"
    if probability > 0.99:
        return f"> 99{SPACE}%"
    return f"< 1{SPACE}%" if probability < 0.01 else f"{100 * probability:.0f}{SPACE}%"
