"""The best of the models that a search over settings made anyway."""

from __future__ import annotations

from typing import ClassVar, Literal

from finetune_advisor.techniques.ensembling.base import Ensembling, Members, Origin, Rates, Variant, other_rates


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
