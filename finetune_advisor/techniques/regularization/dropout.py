"""Units and whole branches that are left out while training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.regularization.base import Regularization


class Dropout(Regularization):
    """Hide a random part of the features from the classifier while training.

    For heads on few images, and for wide hidden layers; less of it, or none, where training is short.
    """

    source: ClassVar[str] = "slides: regularizations (dropout); Srivastava et al. 2014, Dropout"
    measured: ClassVar[str] = (
        "In a small net on 8,500 digits, trained for 10 epochs, hiding half of the hidden units raised the error from "
        "4.6 to 7.5 % with L2, and from 4.4 to 7.5 % with max-norm; the slides' longer training was not repeated "
        "(benchmarks/results/seed_tables.md)."
    )
    advised: ClassVar[str] = "Wherever layers are trained: from 0.1 for plenty of data to 0.3 for hardly any."

    kind: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the features that is hidden."""

    def model_arguments(self) -> dict[str, Any]:
        """timm's name for the rate of the dropout before the classifier."""
        return {"drop_rate": self.rate}


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
