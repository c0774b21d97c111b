"""Which keys of a recipe contradict each other.

The rules read plain values, so that contradictions are told together with whatever else is wrong in a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from finetune_advisor.techniques.catalog import families, kind_of
from finetune_advisor.techniques.strategy import Strategy

Conflict = tuple[str, str]
"""A dotted key and one sentence that says what is wrong and how to mend it."""

DURATIONS = ("epochs", "steps", "images")
"""The keys of a budget of which exactly one is set."""

OPTIONAL = ("head", "augmentation", "loss", "regularization", "optimizer", "schedule", "budget")
"""The keys that only some strategies use."""


def conflicts(values: Mapping[str, Any]) -> list[Conflict]:
    """Every contradiction between the keys of a recipe, given as plain mappings, sequences and numbers.

    The values themselves may still be wrong: what cannot be judged is left to their own checks.
    """
    found = list(_twice(values))
    strategy = _strategy(values)
    if strategy is not None:
        found += _ignored(strategy, values)
        found += _without_effect(strategy, values)
        found += _missing(strategy, values)
    return found


def _strategy(values: Mapping[str, Any]) -> type[Strategy] | None:
    kind = _kind(values.get("strategy"))
    for technique in families()["strategy"]:
        if kind_of(technique) == kind:
            assert issubclass(technique, Strategy)
            return technique
    return None


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    return kind if isinstance(kind, str) else None


def _ignored(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    kind = kind_of(strategy)
    for key in OPTIONAL:
        if key not in strategy.uses and values.get(key) is not None:
            yield (
                key,
                f"{kind} is fitted on clean features: `{key}` would be ignored; set it to null, or choose few_layers",
            )


_OF_A_PROBE = {
    "evaluation.metric": (
        "accuracy",
        "the log loss on its folds chooses the strength of {kind}: a metric would be ignored; set it to accuracy",
    ),
    "runtime.precision": (
        "float32",
        "{kind} is fitted on features in float32: another precision would be ignored; set it to float32",
    ),
    "runtime.compile": (
        False,
        "{kind} trains no network: compiling it would be ignored; set it to false",
    ),
}
"""Keys that every recipe has and a probe does not use: the one value they may have there, and why."""


def _without_effect(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    if strategy.trains_network:
        return
    for key, (allowed, sentence) in _OF_A_PROBE.items():
        outer, inner = key.split(".")
        block = values.get(outer)
        if isinstance(block, Mapping) and isinstance(found := block.get(inner), type(allowed)) and found != allowed:
            yield key, sentence.format(kind=kind_of(strategy))


def _missing(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    absent = [key for key in OPTIONAL if key in strategy.needs and values.get(key) is None]
    if absent:
        kind = kind_of(strategy)
        names = ", ".join(f"`{key}`" for key in absent)
        yield (
            "strategy",
            f"{kind} trains the network and needs {names}; write `extends: {kind}`, or start from "
            f"`finetune-advisor recipes copy {kind}`",
        )


def _twice(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Regularization applies as a set: a technique that stands in it twice hides one of its strengths."""
    items = values.get("regularization")
    if not isinstance(items, (list, tuple)):
        return
    kinds = [_kind(item) for item in items]
    for kind, count in Counter(kinds).items():
        if kind is not None and count > 1:
            last = len(kinds) - 1 - kinds[::-1].index(kind)
            yield f"regularization.{last}", f"{kind} stands here {count} times; keep one of them"
