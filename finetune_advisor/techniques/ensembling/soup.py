"""One network whose weights are the mean of several."""

from __future__ import annotations

from typing import ClassVar, Literal

from finetune_advisor.techniques.ensembling.base import Ensembling, Origin, Rates, Variant, other_rates


class Soup(Ensembling):
    """Average the weights of networks fine-tuned from the same start: as fast as one.

    For a gain that costs nothing at answering; it fails where the runs went different ways, which scoring it tells.
    """

    source: ClassVar[str] = "Wortsman et al. 2022, Model soups: averaging weights of multiple fine-tuned models"
    measured: ClassVar[str] = (
        "Of the three seeds of `few_layers`, six pairs of data set and split: +0.2 points [-0.4, +0.8] over the "
        "best member (benchmarks/results/ensembles.md)."
    )
    not_advised: ClassVar[str] = "It needs several trainings, and did not gain."
    combines: ClassVar[Literal["answers", "weights", "looks"]] = "weights"
    convex_too: ClassVar[bool] = False
    takes_refitted: ClassVar[bool] = False

    kind: Literal["soup"] = "soup"
    recipe: Literal["greedy", "uniform"] = "greedy"
    """greedy: from the best on, a network stays in if held-out accuracy does not fall; uniform: all."""
    rates: Rates = (0.5, 1.0, 2.0)
    """Multiples of the learning rate that make the networks, where one run is given."""

    def variants(self, origin: Origin) -> tuple[Variant, ...]:
        """The same recipe at other rates, from the same start."""
        return other_rates(self.rates, origin)
