"""The seams of an ensemble: which runs or which checkpoints make its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field

from finetune_advisor.techniques.base import Technique

Members = Annotated[int, Field(ge=2, le=100)]
Rates = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that an ensemble starts from.

    Attributes:
        seed: of its recipe.
        lr: peak rate; None for a probe.
        probed: stages whose features a probe joins, None for another run.
        places: all places of its network that a probe can read.
    """

    seed: int
    lr: float | None
    probed: tuple[str, ...] | None
    places: tuple[str, ...]


class Variant(NamedTuple):
    """A further run: the name of its folder, and what of the recipe is changed, by dotted key."""

    name: str
    edits: Mapping[str, object]


class Ensembling(Technique):
    """Several answers in place of one."""

    convex_too: ClassVar[bool]
    """Whether it makes sense of a probe, whose fit is convex: it ends in the same classifier from every start."""
    takes_refitted: ClassVar[bool] = True
    """Whether networks do that were refitted on all images; what asks checkpoints about validation takes none."""

    def variants(self, origin: Origin) -> tuple[Variant, ...]:  # noqa: ARG002
        """The runs to train beside the one that is there; none where members are given or need no training."""
        return ()

    def snapshots(self, evaluations: int, cycles: int | None) -> frozenset[int]:  # noqa: ARG002
        """Which evaluations of a run, counted from 1, leave a checkpoint behind.

        Args:
            evaluations: how many the run has.
            cycles: of its rate, where that is cyclic.
        """
        return frozenset()


def other_rates(factors: tuple[float, ...], origin: Origin) -> tuple[Variant, ...]:
    """The same recipe at multiples of its rate."""
    assert origin.lr is not None, "only where a network is trained"
    return tuple(Variant(f"rate-{factor:g}", {"optimizer.lr": origin.lr * factor}) for factor in factors if factor != 1)
