"""Techniques of a recipe that contradict each other, or that its network gives nothing to do.

Like `recipe_rules`, over plain values that may still be wrong themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Conflict = tuple[str, str]
"""A dotted key and one sentence that says what is wrong and how to mend it."""


def technique_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Every contradiction between the techniques of a recipe."""
    yield from _no_start(values)
    yield from _pulled_both_ways(values)
    yield from _compiled(values)


def _items(values: Mapping[str, Any], family: str) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """The items of a list of techniques by kind, each with its place."""
    items = values.get(family)
    if not isinstance(items, (list, tuple)):
        return {}
    named = ((place, item) for place, item in enumerate(items) if isinstance(item, Mapping))
    return {item["kind"]: (place, item) for place, item in named if isinstance(item.get("kind"), str)}


def at(values: Mapping[str, Any], dotted: str) -> Any:
    """What stands at a dotted key; None where it is not there."""
    found: Any = values
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _no_start(values: Mapping[str, Any]) -> Iterator[Conflict]:
    found = _items(values, "regularization")
    if "l2_sp" in found and at(values, "backbone.weights") == "random":
        yield (
            f"regularization.{found['l2_sp'][0]}",
            "l2_sp pulls toward pretrained weights, and random ones are worth no pull; take l2 instead",
        )


def _pulled_both_ways(values: Mapping[str, Any]) -> Iterator[Conflict]:
    found = _items(values, "regularization")
    if {"l2", "l2_sp"} <= found.keys():
        yield (
            f"regularization.{found['l2'][0]}",
            "l2 pulls pretrained weights to zero while l2_sp pulls them back; leave it out: l2_sp decays the new "
            "layers by its new_strength",
        )


def _compiled(values: Mapping[str, Any]) -> Iterator[Conflict]:
    if "kl_sparsity" in _items(values, "regularization") and at(values, "runtime.compile") is True:
        yield (
            "runtime.compile",
            "kl_sparsity reads what enters the classifier, which a compiled network hides; set it to false",
        )
