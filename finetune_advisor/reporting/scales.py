"""From values to places on a drawing, and the values that an axis names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1, 2, 5, 10)
"""Multiples of a power of ten that people read at a glance."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from [low, high] to [start, end]; values outside are put on the ends."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, in units of the drawing, to a tenth."""
        low, high, value = (self._bent(x) for x in (self.low, self.high, min(max(value, self.low), self.high)))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def _bent(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.logarithmic else value


def ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """At most so many round values within [low, high], evenly apart."""
    if not high > low:
        return (low,)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    for step in STEPS:
        first, last = math.ceil(low / (step * power) - 1e-9), math.floor(high / (step * power) + 1e-9)
        if last - first + 1 <= most:
            # Divided last: 3 * 0.1 is not 0.3.
            return tuple(round(number * step * power, 12) for number in range(first, last + 1))
    raise AssertionError("ten times a tenth of the range leaves few ticks")


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Powers of ten within [low, high]; with fewer than three of them 2 and 5 times those, too."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(tens) >= 3:
        return tuple(tens)
    return tuple(step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high)


def apart(places: Sequence[float], gap: float, low: float, high: float) -> tuple[float, ...]:
    """Labels moved so that neighbors are at least `gap` apart, in the same order and as near as may be.

    Where there are too many for [low, high] they run over its end.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    # Blocks of labels that touch: (sum of wished-for starts, number). A block stands at its mean wish.
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        total, count = places[index] - rank * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    highest = high - (len(places) - 1) * gap
    moved = [0.0] * len(places)
    for rank, index in enumerate(order):
        moved[index] = round(max(min(starts[rank], highest), low) + rank * gap, 1)
    return tuple(moved)


def path(points: Sequence[tuple[float, float]]) -> str:
    """A line through points, as the `d` of an SVG path."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
