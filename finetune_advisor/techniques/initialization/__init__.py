"""Registry of `head.initialization:` and `backbone.initialization:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Fitted, Initialization
from finetune_advisor.techniques.initialization.calibrated import Calibrated
from finetune_advisor.techniques.initialization.gaussian import Gaussian
from finetune_advisor.techniques.initialization.he import He
from finetune_advisor.techniques.initialization.probe import Probe
from finetune_advisor.techniques.initialization.uniform import Uniform
from finetune_advisor.techniques.initialization.unit_variance import UnitVariance
from finetune_advisor.techniques.initialization.zeros import Zeros

AnyInitialization: TypeAlias = Annotated[
    Zeros | Gaussian | Uniform | Calibrated | He | UnitVariance | Probe, Field(discriminator="kind")
]

__all__ = [
    "AnyInitialization",
    "Calibrated",
    "Fitted",
    "Gaussian",
    "He",
    "Initialization",
    "Probe",
    "Uniform",
    "UnitVariance",
    "Zeros",
]
