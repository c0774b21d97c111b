"""Cells across a border that the data is near to, and what would decide between them."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_advisor.advice.amount import plenty_per_class
from finetune_advisor.artifacts.profile import Cell, Neighbor, Profile

WORTH_A_THOUGHT = 0.1
"""Probability from which a cell is named beside the chosen one: one data set in ten like this belongs there."""

Verdicts = tuple[str, str]
"""Of size and of similarity."""


def neighbors(
    profile: Profile, cell: Cell, *, probabilities: Mapping[Cell, float], verdicts: Mapping[Cell, Verdicts]
) -> tuple[Neighbor, ...]:
    """The other cells that are probable enough to be named, most probable first.

    Args:
        profile: with its verdicts.
        cell: the chosen one.
        probabilities: of every cell.
        verdicts: that lead to each cell.
    """
    others = [other for other in probabilities if other != cell and probabilities[other] >= WORTH_A_THOUGHT]
    found = []
    for other in sorted(others, key=lambda other: -probabilities[other]):
        between = [here != there for here, there in zip(verdicts[cell], verdicts[other], strict=True)]
        decides = _decides(profile, other, by_amount=between[0], by_similarity=between[1])
        found.append(Neighbor(cell=other, probability=probabilities[other], decides=decides))
    return tuple(found)


def _decides(profile: Profile, other: Cell, *, by_amount: bool, by_similarity: bool) -> str:
    sides = [_about_amount(profile)] if by_amount else []
    if by_similarity:
        sides.append(_about_similarity(profile))
    reason = " and ".join(sides)
    try_it = f"try `analyze DATA --strategy {other} -o {other}.yaml`"
    if profile.trial is not None:
        return f"{_capital(reason)}; a trial of {profile.trial.minutes:g} min could not tell them apart: {try_it}."
    return f"{_capital(reason)}: to compare, {try_it}."


def _about_amount(profile: Profile) -> str:
    each, border = profile.size.per_effective_class, plenty_per_class(profile.size)
    if profile.size.verdict == "little":
        return f"with about {max(border - each, 1):.0f} more images a class layers could be trained"
    return f"with about {max(each - border, 1):.0f} fewer images a class the network would stay frozen"


def _about_similarity(profile: Profile) -> str:
    similarity = profile.similarity
    assert similarity.threshold is not None
    gap = abs(similarity.score - similarity.threshold)
    side = "above" if similarity.verdict == "similar" else "below"
    return f"the similarity is only {gap:.2f} {side} its border"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
