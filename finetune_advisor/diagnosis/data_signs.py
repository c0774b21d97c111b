"""Signs of the data in what a run answers: classes that are never named, labels in doubt, a probe at its limit."""

from __future__ import annotations

import numpy as np

from finetune_advisor.artifacts.diagnosis import Edit, Finding
from finetune_advisor.data.wording import counted
from finetune_advisor.diagnosis.case import Case
from finetune_advisor.techniques.strategy import Probe

FEWEST_IMAGES = 3
"""Validation images of a class from which it is odd that it is never named."""

MOST_SUSPECTS = 20
"""Images that are named."""


def never_predicted(case: Case) -> Finding | None:
    """Classes with validation images that the network never answers with."""
    if case.val is None:
        return None
    confusion_KK = np.array(case.val["confusion"])
    missed_K = (confusion_KK.sum(axis=0) == 0) & (confusion_KK.sum(axis=1) >= FEWEST_IMAGES)
    missed = [case.classes[index] for index in np.flatnonzero(missed_K)]
    if not missed:
        return None
    why = "classes that are never named count as much as the others"
    edits = []
    if case.recipe.data.class_weights is None:
        edits.append(Edit(key="data.class_weights", value="balanced", reason=why))
    if case.trains and case.recipe.evaluation.metric == "accuracy":
        edits.append(Edit(key="evaluation.metric", value="balanced_accuracy", reason=why))
    images = int(confusion_KK[missed_K].sum())
    return Finding(
        sign="never_predicted",
        title=f"{counted(len(missed), 'class is', 'classes are')} never predicted",
        evidence=f"none of {images:,} validation images of {'it' if len(missed) == 1 else 'them'} is recognized",
        meaning="Rare classes drown among common ones, or look like one of them. Weigh classes alike, or add images.",
        figures={"classes": float(len(missed)), "images": float(images)},
        names=tuple(missed),
        edits=tuple(edits),
    )


def label_suspects(case: Case) -> Finding | None:
    """Images whose labels classifiers that did not see them contradict; a person has to look."""
    if not case.suspects:
        return None
    return Finding(
        sign="label_suspects",
        title=f"{counted(len(case.suspects), 'label')} may be wrong",
        evidence="classifiers that did not see these images contradict their labels",
        meaning="Wrong labels teach wrong answers and make right ones count as wrong. Look before you change them.",
        figures={"images": float(len(case.suspects))},
        names=case.suspects[:MOST_SUSPECTS],
    )


def strength_at_the_edge(case: Case) -> Finding | None:
    """A probe that chose the smallest or the largest strength it was allowed to try."""
    strategy = case.recipe.strategy
    best = [record for record in case.records if record.chosen]
    if any(record.val_accuracy == 1 for record in best):
        return None  # nothing to gain
    chosen = [record.strength for record in best if record.strength is not None]
    if not isinstance(strategy, Probe) or not chosen or len(strategy.strengths) < 2:
        return None
    strengths = sorted(strategy.strengths)
    if strengths[0] < chosen[0] < strengths[-1]:
        return None
    low = chosen[0] == strengths[0]
    further = (strengths[0] / 10, strengths[0] / 3) if low else (strengths[-1] * 3, strengths[-1] * 10)
    value = sorted([*strengths, *(float(f"{strength:.0e}") for strength in further)])
    return Finding(
        sign="strength_at_the_edge",
        title="The best regularization may lie outside what was tried",
        evidence=f"the {'smallest' if low else 'largest'} strength, {chosen[0]:g}, was chosen",
        meaning="A wider range costs a second and may bring a better probe.",
        figures={"strength": chosen[0]},
        edits=(Edit(key="strategy.strengths", value=value, reason="the best was at the edge of the range"),),
    )
