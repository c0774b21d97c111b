"""Cells across a border that the data is near to, and what would decide between them."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_advisor.artifacts.profile import Cell, Neighbor, Profile

WORTH_A_THOUGHT = 0.1
"""Probability from which a cell is named beside the chosen one. It orders and selects; it is not shown."""

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
    begins = " and ".join(sides)
    return f"{other} begins {begins}. Compare: `analyze DATA --strategy {other} -o {other}.yaml`."


def _about_amount(profile: Profile) -> str:
    each, border = profile.size.counted_per_class, profile.size.plenty_per_class
    assert each is not None and border is not None, "the profile is not judged"
    if profile.size.verdict == "little":
        return f"at {border:,.0f} images per class (here {each:,.0f})"
    return f"below {border:,.0f} images per class (here {each:,.0f})"


def _about_similarity(profile: Profile) -> str:
    similarity = profile.similarity
    assert similarity.threshold is not None, "the profile is not judged"
    side = "below" if similarity.verdict == "similar" else "at"
    return f"{side} a similarity of {similarity.threshold:.2f} (here {similarity.score:.2f})"
