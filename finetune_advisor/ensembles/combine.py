"""Members into one network, whose answers are the weighted mean of theirs.

Shapes: M members, N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from finetune_advisor.backbones.wrappers.ensemble import ensemble_of
from finetune_advisor.ensembles.choose import equal, greedy, ranking
from finetune_advisor.ensembles.members import HeldOut, Member
from finetune_advisor.errors import RunError
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.techniques.ensembling import Checkpoints, CrossValidation, Ensembling, Seeds
from finetune_advisor.techniques.preprocessing import Preprocess

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Combined:
    """One network made of several, with what goes into it."""

    net: nn.Module
    preprocess: Preprocess
    architecture: str
    model_args: dict[str, Any]
    weight_M: FloatArray
    """How much each member counts; 0 for one that was not chosen."""


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


def combine(technique: Ensembling, members: Sequence[Member], held_out: HeldOut) -> Combined:
    """Choose and weight members as the technique says.

    Args:
        technique: one of the registry.
        members: at least two.
        held_out: what to choose by.

    Raises:
        RunError: the members' networks cannot be joined.
    """
    assert isinstance(technique, Seeds | CrossValidation | Checkpoints), technique
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
