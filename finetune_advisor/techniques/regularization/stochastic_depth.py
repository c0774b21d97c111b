"""Whole branches that are left out while training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.regularization.base import Regularization


class StochasticDepth(Regularization):
    """Leave out residual branches at random while training, deeper ones more often.

    Only in stages that train, and only in networks with residual branches.
    """

    source: ClassVar[str] = "Huang et al. 2016, Deep Networks with Stochastic Depth; timm's drop_path"
    not_advised: ClassVar[str] = (
        "Advised training is short, and most of the network stays frozen or moves slowly; what it brings was not "
        "measured."
    )

    kind: Literal["stochastic_depth"] = "stochastic_depth"
    rate: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Probability with which an image skips the last branch; it rises from 0 at the first one."""

    def model_arguments(self) -> dict[str, Any]:
        """timm's name for the rate of the last branch."""
        return {"drop_path_rate": self.rate}
