"""Members into one network: their answers or weights joined, or one of them looking several times.

Shapes: M members, N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from finetune_advisor.backbones.ensemble import ensemble_of, looks_of
from finetune_advisor.backbones.soup import soup_of
from finetune_advisor.ensembles.choose import equal, greedy, greedy_soup, ranking
from finetune_advisor.ensembles.members import HeldOut, Member
from finetune_advisor.errors import RunError
from finetune_advisor.inference import Predictor
from finetune_advisor.techniques.ensembling import (
    Checkpoints,
    CrossValidation,
    Ensembling,
    MultiScale,
    Seeds,
    Soup,
    TenCrop,
)
from finetune_advisor.techniques.preprocessing.settings import Preprocess

FloatArray = npt.NDArray[np.floating]

AccuracyOf = Callable[[nn.Module, Preprocess], float]
"""Accuracy of a network on the held-out images."""


@dataclass(frozen=True)
class Combined:
    """One network made of several, with what goes into it."""

    net: nn.Module
    preprocess: Preprocess
    architecture: str
    model_args: dict[str, Any]
    weight_M: FloatArray
    """How much each member counts; 0 for one that was not chosen."""


def combine(
    technique: Ensembling, members: Sequence[Member], held_out: HeldOut | None, *, accuracy_of: AccuracyOf
) -> Combined:
    """Choose and join members as the technique says.

    Args:
        technique: one of the registry.
        members: at least two; one for looks.
        held_out: what to choose by; None for looks, where nothing is chosen.
        accuracy_of: asked by a greedy soup, whose weights are of no member.

    Raises:
        RunError: the members' networks cannot be joined.
    """
    match technique:
        case TenCrop() | MultiScale():
            return _looking(technique, members[0])
        case Soup():
            assert held_out is not None
            return _soup(technique, members, held_out, accuracy_of)
        case Seeds() | CrossValidation() | Checkpoints():
            assert held_out is not None
            return _answering(technique, members, held_out)
    raise AssertionError(f"no way to combine {technique.kind}")


def shared_preprocessing(members: Sequence[Member]) -> Preprocess:
    """The preprocessing of all members, with the normalization of the first.

    Raises:
        RunError: they see images of another size, fit or range of values.
    """
    first, *others = [Predictor.of_model(member.model).preprocess for member in members]
    for member, other in zip(members[1:], others, strict=True):
        if replace(other, mean=first.mean, std=first.std) != first:
            raise RunError(
                f"{members[0].name} and {member.name} see images differently: {first.size} pixels, {first.fit}, and "
                f"{other.size} pixels, {other.fit}.",
                "Members of an ensemble share preprocessing.size, preprocessing.fit and preprocessing.value_range.",
            )
    return first


def _answering(
    technique: Seeds | CrossValidation | Checkpoints, members: Sequence[Member], held_out: HeldOut
) -> Combined:
    best = ranking(held_out.probabilities_MNK, held_out.labels_N)
    kept = sorted(best[: technique.members] if isinstance(technique, CrossValidation) else best)
    if technique.weights == "greedy":
        weight_M = greedy(held_out.probabilities_MNK, held_out.labels_N, kept)
    else:
        weight_M = equal(kept, len(members))
    chosen = np.flatnonzero(weight_M).tolist()
    used = [members[place] for place in chosen]
    preprocess = shared_preprocessing(used)
    net = ensemble_of([member.model for member in used], weight_M[chosen].tolist())
    return Combined(net, preprocess, net.architecture, net.model_args, weight_M)


def _soup(technique: Soup, members: Sequence[Member], held_out: HeldOut, accuracy_of: AccuracyOf) -> Combined:
    preprocess = shared_preprocessing(members)
    order = ranking(held_out.probabilities_MNK, held_out.labels_N)

    def mean_of(places: Sequence[int]) -> nn.Module:
        return soup_of([members[place].model for place in places])

    if technique.recipe == "greedy":
        order = greedy_soup(order, lambda places: accuracy_of(mean_of(places), preprocess))
    net = mean_of(order)
    config = Predictor.of_model(members[0].model).config
    return Combined(net, preprocess, config["architecture"], config["model_args"], equal(order, len(members)))


def _looking(technique: TenCrop | MultiScale, member: Member) -> Combined:
    own = Predictor.of_model(member.model).preprocess
    looks = technique.looks(own.size)
    net = looks_of(member.model, looks.looks, size=own.size)
    preprocess = replace(own, size=looks.side, crop_pct=1.0)
    return Combined(net, preprocess, net.architecture, net.model_args, np.ones(1))
