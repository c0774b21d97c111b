"""Which keys of a recipe contradict each other, or ask for what its network does not have.

The rules read plain values, which may still be wrong themselves, so that contradictions are told together with whatever
else is wrong in a file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from finetune_advisor.techniques.base import Technique
from finetune_advisor.techniques.catalog import families, kind_of
from finetune_advisor.techniques.ensembling import Ensembling
from finetune_advisor.techniques.initialization import Initialization
from finetune_advisor.techniques.loss import Loss
from finetune_advisor.techniques.preprocessing import Preprocessing
from finetune_advisor.techniques.strategy import FineTuning, FromScratch, Probe, Strategy

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


DURATIONS = ("epochs", "steps", "images", "minutes")
"""The keys of a budget of which exactly one is set."""

OPTIONAL = ("head", "augmentation", "mixing", "loss", "regularization", "optimizer", "schedule", "budget", "averaging")
"""The keys that only some strategies use."""


def conflicts(values: Mapping[str, Any]) -> list[Conflict]:
    """Every contradiction between the keys of a recipe, given as plain mappings, sequences and numbers.

    The values themselves may still be wrong: what cannot be judged is left to their own checks.
    """
    found = [*_twice(values), *technique_conflicts(values)]
    strategy = technique_in("strategy", values.get("strategy"))
    if strategy is not None:
        assert issubclass(strategy, Strategy)
        found += _ignored(strategy, values)
        found += _not_the_only_value(strategy, values)
        found += _missing(strategy, values)
        found += _unfrozen_too_late(strategy, values)
        found += _cached(values)
        found += _mixed(values)
        found += _preprocessed(strategy, values)
        found += _the_same_again(strategy, values)
        found += _refitted(strategy, values)
    return found


def _ignored(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    kind = kind_of(strategy)
    for key in OPTIONAL:
        if key not in strategy.uses and values.get(key) is not None:
            yield (
                key,
                f"{kind} is fitted on clean features: `{key}` would be ignored; set it to null, or choose few_layers",
            )


def _not_the_only_value(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    for key, (only, reason) in strategy.only.items():
        found = _value(key, values)
        if found is not None and found.value != only:
            yield key, f"{reason.format(kind=kind_of(strategy))}; set it to {_as_yaml(only)}"


def _as_yaml(value: Any) -> str:
    return f"{value:g}" if type(value) is float else json.dumps(value).strip('"')


@dataclass(frozen=True)
class _Found:
    value: Any


def _value(key: str, values: Mapping[str, Any]) -> _Found | None:
    """What stands at a dotted key, or the technique's default where it is left out; None where nothing can be said."""
    *outer, name = key.split(".")
    block: Any = values
    for part in outer:
        block = block.get(part) if isinstance(block, Mapping) else None
    if not isinstance(block, Mapping):
        return None
    if name in block:
        return _Found(block[name])
    technique = technique_in(outer[-1], block)
    return _Found(technique.model_fields[name].default) if technique and name in technique.model_fields else None


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


def _unfrozen_too_late(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    """What joins the training after some epochs joins before the end, for every backbone there is."""
    budget = values.get("budget")
    if not issubclass(strategy, FineTuning) or not isinstance(budget, Mapping):
        return
    try:
        fewest = strategy.model_validate(values["strategy"]).fewest_epochs
    except ValidationError:
        return
    epochs, kind = budget.get("epochs"), kind_of(strategy)
    if fewest > 1 and epochs is None:
        yield "budget", f"{kind} unfreezes after whole epochs: give the budget in epochs, at least {fewest} of them"
    elif isinstance(epochs, int) and 1 <= epochs < fewest:
        yield (
            "budget.epochs",
            f"{kind} trains frozen layers from epoch {fewest} on, but training ends after epoch {epochs}; set it to at "
            f"least {fewest}, or unfreeze earlier",
        )


def _cached(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Views are kept somewhere, and what lies above them is not the network that gets compiled."""
    runtime, strategy = values.get("runtime"), values.get("strategy")
    if not isinstance(runtime, Mapping) or not isinstance(strategy, Mapping) or strategy.get("cached_views") is None:
        return
    if runtime.get("cache_mib") is None:
        yield "strategy.cached_views", "views need room on the disk: set runtime.cache_mib to some MiB, or this to null"
    if runtime.get("compile"):
        yield (
            "runtime.compile",
            "the part above cached views is not compiled: set it to false, or cached_views to null",
        )


def _preprocessed(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Pretrained networks know no whitened images; features are computed before it is settled what trains."""
    preprocessing = technique_in("preprocessing", values.get("preprocessing"))
    if preprocessing is None:
        return
    assert issubclass(preprocessing, Preprocessing)
    kind, head = kind_of(preprocessing), values.get("head")
    start = technique_in("initialization", head.get("initialization") if isinstance(head, Mapping) else None)
    from_features = start is not None and issubclass(start, Initialization) and start.needs_features
    if not preprocessing.suits_pretrained and not issubclass(strategy, FromScratch):
        yield "preprocessing.kind", f"no pretrained network knows images after {kind}; choose backbone, or from_scratch"
    elif preprocessing.needs_colors and (not strategy.trains_network or from_features):
        who = kind_of(strategy) if not strategy.trains_network else "a head that starts from a probe"
        yield "preprocessing.kind", f"{who} sees images before it is known which ones {kind} measures; choose backbone"


def _mixed(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """A mixture of two images has two labels, two images behind it, and is no image that was seen before."""
    mixing = kind_in(values.get("mixing"))
    if mixing is None:
        return
    loss = technique_in("loss", values.get("loss"))
    if loss is not None and issubclass(loss, Loss) and not loss.takes_mixed_labels:
        yield (
            "loss",
            f"{kind_of(loss)} takes one label an image, {mixing} gives two; choose cross_entropy, or no mixing",
        )
    views = _value("strategy.cached_views", values)
    if views is not None and views.value is not None:
        yield (
            "strategy.cached_views",
            f"{mixing} makes new images in every step, whose outputs cannot be kept; set it to null, or mixing",
        )
    batch = _value("optimizer.batch", values)
    if batch is not None and batch.value == 1:
        yield "optimizer.batch", f"{mixing} needs two images in a step; set it to at least 2, or mixing to null"


def _the_same_again(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    """A convex fit has one solution: runs of it do not differ, and it has no moments on its way that do."""
    ensembling = technique_in("ensembling", values.get("ensemble"))
    if ensembling is None or not issubclass(strategy, Probe):
        return
    assert issubclass(ensembling, Ensembling)
    if not ensembling.convex_too:
        yield (
            "ensemble",
            f"{kind_of(strategy)} is a convex fit: it ends in the same classifier from every start, so the members of "
            f"{kind_of(ensembling)} would be identical; choose cross_validation (other stages), or train layers",
        )


def _twice(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Regularization applies as a set: a technique that stands in it twice hides one of its strengths."""
    items = values.get("regularization")
    if not isinstance(items, (list, tuple)):
        return
    kinds = [kind_in(item) for item in items]
    for kind, count in Counter(kinds).items():
        if kind is not None and count > 1:
            last = len(kinds) - 1 - kinds[::-1].index(kind)
            yield f"regularization.{last}", f"{kind} stands here {count} times; keep one of them"


def _refitted(strategy: type[Strategy], values: Mapping[str, Any]) -> Iterator[Conflict]:
    """What trains without held-out images can neither be steered by them nor be chosen by them afterwards."""
    if at(values, "evaluation.refit") is not True:
        return
    key, off = "evaluation.refit", "; set it to false"
    if not strategy.trains_network:
        yield key, f"{kind_of(strategy)} is always fitted on training and validation images together{off}"
        return
    if at(values, "budget.early_stopping") is not None:
        yield (
            key,
            f"without validation images nobody knows when to stop early{off}, or budget.early_stopping to null",
        )
    if at(values, "budget.minutes") is not None:
        yield key, f"it trains a second time, for which a budget in minutes has no room{off}, or give epochs"
    if kind_at(values, "schedule") == "plateau":
        yield key, f"without validation images no plateau is seen{off}, or choose another schedule"
    ensembling = technique_in("ensembling", values.get("ensemble"))
    if ensembling is not None and issubclass(ensembling, Ensembling) and not ensembling.takes_refitted:
        who = kind_of(ensembling)
        yield key, f"{who} needs validation images that the weights have not seen{off}, or choose another ensemble"
