"""How much data there is, as a continuous number: 0 is hardly any, 1 more than could be asked for.

The images per class are compared, on a logarithmic scale, with a border. The border is the calibrated one, moved by
what the probe's learning curve says: a steep curve means that even the probe is still starved.

amount = logistic(per_decade * (log10(images per class) - log10(border)))

Images per class are those per effective class, which common classes make up almost alone: 400 images of one class and 2
of another count as 390. So the smallest class bounds them: layers cannot learn a class from two images, however many
there are of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from finetune_advisor.advice.calibration import Amount, Curve, calibration
from finetune_advisor.artifacts.profile import Size
from finetune_advisor.metrics import Z95

BORDER = 0.5
"""The amount from which there is plenty: where the logistic function has its middle."""

RARE_CLASS_FACTOR = 20
"""Images per class that count for each image of the smallest class, by hand: with fewer than about ten images in a
class there is never plenty."""

LEAST_ERROR = 1e-3
"""Error of a probe below which a share of it means nothing."""


@dataclass(frozen=True)
class Reduction:
    """Share of the probe's errors that ten times the images would take away."""

    share: float
    """0 for a flat learning curve, 1 for one that falls to no errors at all."""
    std: float


def error_reduction(size: Size) -> Reduction | None:
    """What the learning curve promises of ten times the images; None where none was fitted."""
    if size.forecast is None:
        return None
    now = max(_error_now(size), LEAST_ERROR)
    share = min(max(1 - (1 - size.forecast.accuracy) / now, 0.0), 1.0)
    return Reduction(share, (size.forecast.high - size.forecast.low) / (2 * Z95) / now)


def _error_now(size: Size) -> float:
    assert size.forecast is not None
    if size.power_law is not None:
        law = size.power_law
        return law.floor + law.scale * math.pow(size.forecast.images / 10, -law.exponent)
    return 1 - size.learning_curve[-1].accuracy if size.learning_curve else 1 - size.forecast.accuracy


def plenty_per_class(size: Size, borders: Amount | None = None) -> float:
    """Images per class from which there is plenty, for this learning curve."""
    return float(10 ** _border(size, borders or calibration().amount).mean)


def counted_per_class(size: Size) -> float:
    """Images per class that the amount counts; see the top of the file."""
    return min(size.per_effective_class, RARE_CLASS_FACTOR * size.smallest_class)


def judge_size(size: Size, borders: Amount) -> Size:
    """The size with its amount and verdict, and the two numbers that they compare."""
    above = _decades(size) - _border(size, borders).mean
    return size.model_copy(
        update={
            "amount": 1 / (1 + math.exp(-borders.per_decade * above)),
            "verdict": "plenty" if above >= 0 else "little",
            "threshold": BORDER,
            "counted_per_class": counted_per_class(size),
            "plenty_per_class": plenty_per_class(size, borders),
        }
    )


def probability_of_plenty(size: Size, borders: Amount) -> float:
    """Probability that the images are above the border, which is itself not known exactly."""
    return _border(size, borders).cdf(_decades(size))


def _decades(size: Size) -> float:
    return math.log10(max(counted_per_class(size), 1e-9))


def _border(size: Size, borders: Amount) -> NormalDist:
    """The border in powers of ten of images per class, with its uncertainty."""
    curve = borders.curve
    share, std = _believed(error_reduction(size), curve)
    middle = math.log10(borders.plenty_per_class) + curve.decades_per_reduction * (share - curve.usual_reduction)
    return NormalDist(middle, math.hypot(borders.spread_decades, curve.decades_per_reduction * std))


def _believed(measured: Reduction | None, curve: Curve) -> tuple[float, float]:
    """A measured share drawn toward the usual one, the more so the less sure it is; mean and standard deviation."""
    usual, spread = curve.usual_reduction, curve.spread_reduction
    if measured is None:
        return usual, spread
    trust = spread**2 / (spread**2 + measured.std**2)
    return usual + trust * (measured.share - usual), math.sqrt(1 - trust) * spread
