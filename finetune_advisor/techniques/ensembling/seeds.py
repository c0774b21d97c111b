"""The same recipe from different initializations."""

from __future__ import annotations

from typing import ClassVar, Literal

from finetune_advisor.techniques.ensembling.base import LARGEST_SEED, Ensembling, Members, Origin, Variant


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
