"""Techniques of a recipe that contradict each other, or that its network gives nothing to do.

Like `recipe_rules`, over plain values that may still be wrong themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetune_advisor.techniques.base import Technique
from finetune_advisor.techniques.catalog import families, kind_of

Conflict = tuple[str, str]
"""A dotted key and one sentence that says what is wrong and how to mend it."""


def technique_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Every contradiction between the techniques of a recipe."""
    yield from _no_start(values)
    yield from _pulled_both_ways(values)
    yield from _compiled(values)
    yield from _head(values)
    yield from _swapped(values)
    yield from _started(values)


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


def kind_in(block: Any) -> str | None:
    """The `kind` that a block of a recipe says; None where it says none."""
    kind = block.get("kind") if isinstance(block, Mapping) else None
    return kind if isinstance(kind, str) else None


def technique_in(family: str, block: Any) -> type[Technique] | None:
    """The class that a block of a recipe is read as; None where its `kind` is unknown."""
    members = families().get(family, ())
    return next((technique for technique in members if kind_of(technique) == kind_in(block)), None)


def kind_at(values: Mapping[str, Any], dotted: str) -> Any:
    """The `kind` of the technique at a dotted key; None where there is none."""
    return at(values, f"{dotted}.kind")


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
    if "kl_sparsity" in _items(values, "regularization") and at(values, "runtime.compile"):
        yield (
            "runtime.compile",
            "kl_sparsity reads what enters the classifier, which a compiled network hides; set it to false",
        )


def _head(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """A hidden layer has an activation, and its start has to break the symmetry between its units."""
    hidden, activation = at(values, "head.hidden"), at(values, "head.activation")
    if hidden is None and activation is not None:
        yield "head.activation", "there is no hidden layer that it could act on: set head.hidden, or this to null"
    if hidden is not None and activation is None:
        yield "head.activation", "without one a hidden layer is just a longer linear one: choose one, such as relu"
    start = kind_at(values, "head.initialization")
    if hidden is not None and start == "zeros":
        yield (
            "head.initialization.kind",
            "from zeros all hidden units compute the same gradient and stay alike, there is no source of asymmetry; "
            "choose he, or set head.hidden to null",
        )
    if hidden is not None and start == "probe":
        yield "head.initialization.kind", "a probe is one linear layer; choose he, or set head.hidden to null"
    sparsity = _items(values, "regularization").get("kl_sparsity")
    if sparsity and sparsity[1].get("units") == "probability" and kind_at(values, "head.activation") != "sigmoid":
        yield (
            f"regularization.{sparsity[0]}.units",
            "probabilities come from a hidden layer with head.activation sigmoid; set it to rate",
        )


def _swapped(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """What cannot stand between all layers of a network, or not below a fitted head."""
    activation = kind_at(values, "backbone.activation")
    if activation == "sigmoid":
        yield (
            "backbone.activation.kind",
            "through many layers of sigmoids no gradient comes back, and the slides say never to use it; choose relu",
        )
    if activation == "maxout":
        yield (
            "backbone.activation.kind",
            "maxout needs a layer of twice as many outputs below it, which no backbone has; it is for head.activation",
        )
    if activation is not None and kind_at(values, "head.initialization") == "probe":
        yield (
            "head.initialization.kind",
            "the probe would be fitted on the network with its own activations; choose zeros, or null for "
            "backbone.activation",
        )


def _started(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """What the layers of a whole network cannot start from."""
    start = kind_at(values, "backbone.initialization")
    if start is None:
        return
    if at(values, "backbone.weights") != "random":
        yield "backbone.initialization", "it would throw the pretrained weights away: set it to null"
    elif start == "zeros":
        yield (
            "backbone.initialization.kind",
            "from zeros all neurons compute the same gradient and stay alike, there is no source of asymmetry; take he",
        )
    elif start == "probe":
        yield "backbone.initialization.kind", "a probe is one linear layer and can start the head only; choose he"
    elif kind_at(values, "head.initialization") == "probe":
        yield (
            "head.initialization.kind",
            "the probe would be fitted on timm's random weights, not on yours; choose zeros, or null for "
            "backbone.initialization",
        )
