"""What a rule gives: a key of the recipe, its value, and a reason that is rendered from the figures that decided.

A rule cannot write a number of its own into a sentence: `say` takes a template and the figures of the profile that fill
it, each with the path it stands at. The same figures are what the reason cites, and a test changes them to see whether
they decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from finetune_advisor.records.profile import Cell, Profile, View

KEEP = object()
"""The value of a line that is only explained: the shipped recipe's, or an item of a list that another choice sets."""

SURE = 2.0
"""Standard errors from which a difference is more than chance."""

NOT_FROM_DATA = ("Default of the recipe", "Set for every data set", "Chosen by hand")
"""How a reason begins that no figure of the profile decided."""

LONGEST_NAME = 30
"""Characters of a name in a reason: classes may be called anything."""


@dataclass(frozen=True)
class Cite:
    """A figure and where it stands in the profile."""

    path: str
    """Dotted; items of a list by their view or stage: `views.gray.std`, `probes.blocks.4.accuracy`."""
    value: Any

    def __format__(self, spec: str) -> str:
        """A number as it is, with `%` a share in words, a name cut to `LONGEST_NAME`, a collection by its size."""
        if spec == "%":
            return percent(self.value)
        if isinstance(self.value, str):
            return short(self.value)
        return format(len(self.value) if isinstance(self.value, tuple | dict) else self.value, spec)


def cite(profile: Profile, path: str) -> Cite:
    """A figure of the profile by its path; None where a view, or a part that may be missing, was not measured.

    Raises:
        KeyError: a profile has no such field.
    """
    found: Any = profile
    rest = path
    while rest:
        found, rest = _step(found, rest)
    return Cite(path, found)


def _step(owner: Any, path: str) -> tuple[Any, str]:
    """What the first part of a path leads to, and the rest of the path."""
    first, _, rest = path.partition(".")
    if isinstance(owner, tuple):
        named = {getattr(item, "view", None) or getattr(item, "stage", None): item for item in owner}
        for name in sorted(filter(None, named), key=len, reverse=True):
            if path == name or path.startswith(f"{name}."):
                return named[name], path[len(name) + 1 :]
        if first.isdigit() and int(first) < len(owner):
            return owner[int(first)], rest
        if path in get_args(View):
            return None, ""
        raise KeyError(path)
    if isinstance(owner, dict):
        return owner[first], rest
    if not hasattr(owner, first):
        raise KeyError(path)
    return getattr(owner, first), rest


@dataclass(frozen=True)
class Change:
    """From one accuracy to another on the same images, with the standard error of the difference."""

    before: Cite
    after: Cite
    std: Cite

    @property
    def difference(self) -> float:
        return float(self.after.value - self.before.value)

    @property
    def verdict(self) -> Literal["higher", "lower", "unclear"]:
        """Unclear up to `SURE` standard errors."""
        if abs(self.difference) <= SURE * self.std.value:
            return "unclear"
        return "higher" if self.difference > 0 else "lower"

    @property
    def cites(self) -> tuple[Cite, ...]:
        return self.before, self.after, self.std

    def __format__(self, spec: str) -> str:
        return f"{_signed(self.difference)} ± {100 * self.std.value:.1f} points"


@dataclass(frozen=True)
class Reason:
    """A sentence, or a part of one, with the figures in it."""

    template: str
    """For `str.format`."""
    parts: Mapping[str, object] = field(default_factory=dict)
    """`Cite`, `Change` and `Reason` cite figures; anything else is a constant, or a name that the figures chose."""
    also: tuple[Cite, ...] = ()
    """Figures that decided and are not in the sentence."""

    def __str__(self) -> str:
        return self.template.format_map(self.parts)

    def __format__(self, spec: str) -> str:
        return str(self)

    @property
    def cites(self) -> tuple[Cite, ...]:
        """All figures that decided, each once, those of parts of the sentence too."""
        found = [cited for part in self.parts.values() for cited in _cited(part)]
        return tuple({each.path: each for each in (*found, *self.also)}.values())

    @property
    def shape(self) -> str:
        """The sentence without its figures: another shape is another reason."""
        return self.template.format_map({name: _blank(part) for name, part in self.parts.items()})


def say(template: str, *also: Cite, **parts: object) -> Reason:
    """A reason of the figures that fill the template, and of others that decided with them."""
    return Reason(template, parts, also)


def _cited(part: object) -> tuple[Cite, ...]:
    if isinstance(part, Cite):
        return (part,)
    return part.cites if isinstance(part, Change | Reason) else ()


class _Blank:
    def __format__(self, spec: str) -> str:
        return "_"


def _blank(part: object) -> object:
    if isinstance(part, Reason):
        return part.shape
    return _Blank() if isinstance(part, Cite | Change) else part


@dataclass(frozen=True)
class Choice:
    """A key of the recipe with the value chosen for this data, and why."""

    key: str
    value: Any
    """What the key is set to, or `KEEP`."""
    reason: Reason | None = None
    """None where there is nothing to say beyond the value, which then is a setting of the analysis."""


Rule = Callable[[Profile, Cell], Iterator[Choice]]
"""A decision: reads a placed profile and the cell whose recipe is written."""


def _signed(difference: float) -> str:
    return f"{round(100 * difference, 1) or 0.0:+.1f}"


def percent(share: float) -> str:
    """A share in whole percent that does not round something to nothing, or a part to all."""
    if share < 0.005:
        return "under 1 %" if share > 0 else "none"
    if share >= 0.995:
        return "over 99 %" if share < 1 else "all"
    return f"{100 * share:.0f} %"


def short(name: str) -> str:
    """A name cut to what a line can hold."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def digits_beside(value: float, border: float, *, below: bool, digits: int) -> int:
    """Decimals that a number takes so that it does not read as the border it lies below."""
    while below and f"{value:.{digits}f}" == f"{border:.{digits}f}" and digits < 6:
        digits += 1
    return digits


def two_digits(value: float) -> float:
    """A rate or a ratio as a person would write it."""
    return float(f"{value:.2g}") if math.isfinite(value) else value
