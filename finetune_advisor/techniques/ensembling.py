"""`ensemble:`, which runs or which checkpoints become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

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


class Seeds(Ensembling):
    """Train the same recipe from other seeds, and average the answers.

    Of all ensembles the most likely to gain, at as many times the cost of training and of every answer.
    """

    source: ClassVar[str] = "slides: ensemble (same model, different initializations); Lakshminarayanan et al. 2017"
    measured: ClassVar[str] = (
        "Three seeds of `few_layers` on two data sets, three splits each: +0.7 points [-0.2, +1.6] over the best "
        "member (benchmarks/results/ensembles.md)."
    )
    not_advised: ClassVar[str] = "It multiplies the time of training and of every answer, for a gain that was not sure."
    convex_too: ClassVar[bool] = False

    kind: Literal["seeds"] = "seeds"
    members: Members = 5
    """How many, the run that is there among them."""
    weights: Literal["equal", "greedy"] = "equal"
    """equal: all count the same, as they differ by chance alone; greedy: as held-out images say."""

    def variants(self, origin: Origin) -> tuple[Variant, ...]:
        """The next seeds; the order of the images changes with them, the split does not."""
        seeds = [(origin.seed + number) % (LARGEST_SEED + 1) for number in range(1, self.members)]
        return tuple(Variant(f"seed-{seed}", {"seed": seed}) for seed in seeds)


class CrossValidation(Ensembling):
    """Average the best few of the models found in cross-validation.

    A probe is tried at every stage and at all of them joined, each judged out of fold; where layers are trained, the
    rate is varied, judged on validation images.
    """

    source: ClassVar[str] = "slides: ensemble (top models discovered during cross-validation); Caruana et al. 2004"
    measured: ClassVar[str] = (
        "Probes on two data sets, three splits each: -0.1 points [-0.9, +0.6] over the best member "
        "(benchmarks/results/ensembles.md)."
    )
    not_advised: ClassVar[str] = "It did not gain over the best probe."
    convex_too: ClassVar[bool] = True

    kind: Literal["cross_validation"] = "cross_validation"
    members: Members = 4
    """Most models to keep, those that do best on held-out images."""
    rates: Rates = (0.3, 1.0, 3.0)
    """Multiples of the learning rate to try where layers are trained."""
    weights: Literal["equal", "greedy"] = "greedy"
    """greedy: how often each is drawn when the next is always the one that helps most; equal: all count the same."""

    def variants(self, origin: Origin) -> tuple[Variant, ...]:
        """Other places for a probe, other rates where layers are trained."""
        if origin.probed is None:
            return other_rates(self.rates, origin)
        sets = [*((place,) for place in origin.places), origin.places]
        return tuple(
            Variant(
                f"at-{stages[0] if len(stages) == 1 else 'all'}",
                {"strategy.kind": "stage_probe", "strategy.stages": stages},
            )
            for stages in sets
            if stages != origin.probed
        )


class Checkpoints(Ensembling):
    """Average the answers of one run at several moments: at the ends of its cycles, or evenly over its last part.

    For the gain of an ensemble at the cost of one training, best with a `cyclic` schedule.
    """

    source: ClassVar[str] = (
        "slides: ensemble (different checkpoints of a single model); Huang et al. 2017, Snapshot Ensembles; "
        "Garipov et al. 2018, Fast Geometric Ensembling"
    )
    measured: ClassVar[str] = (
        "Two moments of `few_layers`, six pairs of data set and split: +0.4 points [-0.4, +1.2] over the best "
        "member (benchmarks/results/ensembles.md)."
    )
    not_advised: ClassVar[str] = "It doubles the time of every answer, or more, for a gain that was not sure."
    convex_too: ClassVar[bool] = False
    takes_refitted: ClassVar[bool] = False

    kind: Literal["checkpoints"] = "checkpoints"
    members: Members = 4
    """How many moments; of a cyclic rate the ends of the last so many cycles."""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the run before the first moment, where the rate is not cyclic."""
    weights: Literal["equal", "greedy"] = "equal"
    """equal: all count the same; greedy: as held-out images say."""

    def snapshots(self, evaluations: int, cycles: int | None) -> frozenset[int]:
        """The evaluation nearest to each moment."""
        if cycles is not None:
            moments = [number / cycles for number in range(max(1, cycles - self.members + 1), cycles + 1)]
        else:
            part = (1 - self.start) / self.members
            moments = [self.start + part * number for number in range(1, self.members + 1)]
        return frozenset(max(1, round(moment * evaluations)) for moment in moments)


AnyEnsembling: TypeAlias = Annotated[Seeds | CrossValidation | Checkpoints, Field(discriminator="kind")]

__all__ = [
    "AnyEnsembling",
    "Checkpoints",
    "CrossValidation",
    "Ensembling",
    "Origin",
    "Seeds",
    "Variant",
]
