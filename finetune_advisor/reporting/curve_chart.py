"""The geometry of the learning curve: points, fitted law, and what ten times the images would bring."""

from __future__ import annotations

import math
from dataclasses import dataclass

from finetune_advisor.records.profile import Size
from finetune_advisor.reporting.charts import Scale, Tick, log_ticks, path, ticks
from finetune_advisor.reporting.sentences import accuracy_now, law

STEPS = 40
"""Straight pieces that a fitted curve is drawn with."""

LEFT, RIGHT, TOP, BOTTOM = 40.0, 346.0, 12.0, 190.0


@dataclass(frozen=True, slots=True)
class CurveDot:
    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class CurvePlot:
    """Accuracy of a probe over the number of images, on a logarithmic axis."""

    height: float
    left: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    dots: tuple[CurveDot, ...]
    fitted: str
    """Path of the law where it was fitted; empty without one."""
    beyond: str
    """Path of the law from there to the forecast."""
    band: str
    """Path around the forecast's interval, which opens from the last point on."""
    forecast: CurveDot | None


def curve_plot(size: Size) -> CurvePlot | None:
    """The learning curve; None where it has less than two points."""
    points = size.learning_curve
    if len(points) < 2:
        return None
    across, up = _scales(size)
    dots = tuple(
        CurveDot(
            across(point.images),
            up(point.accuracy),
            up(point.accuracy - point.std),
            up(point.accuracy + point.std),
            f"{point.images:,.0f} images: {point.accuracy:.3f} ± {point.std:.3f}",
        )
        for point in points
    )
    fitted, beyond, band, forecast = _law_paths(size, across, up)
    return CurvePlot(
        height=BOTTOM + 36,
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
        x_ticks=tuple(Tick(across(value), _count(value)) for value in log_ticks(across.low, across.high)),
        y_ticks=tuple(Tick(up(value), f"{value:g}") for value in ticks(up.low, up.high)),
        dots=dots,
        fitted=fitted,
        beyond=beyond,
        band=band,
        forecast=forecast,
    )


def _scales(size: Size) -> tuple[Scale, Scale]:
    points, forecast = size.learning_curve, size.forecast
    images = [point.images for point in points]
    values = [end for point in points for end in (point.accuracy - point.std, point.accuracy + point.std)]
    if forecast is not None:
        images.append(forecast.images)
        values += [forecast.low, forecast.high]
    low, high = min(values), max(values)
    margin = max(0.06 * (high - low), 0.005)
    across = Scale(0.9 * min(images), 1.1 * max(images), LEFT, RIGHT, logarithmic=True)
    return across, Scale(max(low - margin, 0), min(high + margin, 1), BOTTOM, TOP)


def _law_paths(size: Size, across: Scale, up: Scale) -> tuple[str, str, str, CurveDot | None]:
    """Paths of the law as far as it was fitted and beyond, of the band, and the forecast's dot."""
    power, forecast, now = size.power_law, size.forecast, accuracy_now(size)
    first, last = size.learning_curve[0].images, size.learning_curve[-1].images
    fitted = ""
    if power is not None:
        fitted = path([(across(x), up(law(power, x))) for x in _spaced(first, last)])
    if forecast is None or now is None:
        return fitted, "", "", None
    start = last if power is None else min(last, forecast.images)
    begin = now if power is None else law(power, start)
    places = _spaced(start, forecast.images)
    shares = [step / STEPS for step in range(STEPS + 1)]
    middle = [
        law(power, x) if power else begin + share * (forecast.accuracy - begin)
        for x, share in zip(places, shares, strict=True)
    ]
    # The interval is known at the forecast alone; on the way it is drawn as opening evenly.
    under, over = forecast.low - middle[-1], forecast.high - middle[-1]
    upper = [(across(x), up(y + share * over)) for x, y, share in zip(places, middle, shares, strict=True)]
    lower = [(across(x), up(y + share * under)) for x, y, share in zip(places, middle, shares, strict=True)]
    dot = CurveDot(
        across(forecast.images),
        up(forecast.accuracy),
        up(forecast.low),
        up(forecast.high),
        f"{forecast.images:,.0f} images: {forecast.accuracy:.3f} [{forecast.low:.3f}, {forecast.high:.3f}]",
    )
    beyond = path([(across(x), up(y)) for x, y in zip(places, middle, strict=True)])
    return fitted, beyond, path([*upper, *lower[::-1]]) + "Z", dot


def _spaced(first: float, last: float) -> list[float]:
    """Evenly spaced on a logarithmic axis, both ends included."""
    low, high = math.log(first), math.log(last)
    return [math.exp(low + (high - low) * step / STEPS) for step in range(STEPS + 1)]


def _count(images: float) -> str:
    """A number of images in few letters."""
    if images >= 1e6:
        return f"{images / 1e6:g}M"
    return f"{images / 1e3:g}k" if images >= 1e4 else f"{images:,.0f}"
