"""Registry of `head.initialization:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Fitted, Initialization
from finetune_advisor.techniques.initialization.gaussian import Gaussian
from finetune_advisor.techniques.initialization.probe import Probe
from finetune_advisor.techniques.initialization.zeros import Zeros

AnyInitialization: TypeAlias = Annotated[Zeros | Gaussian | Probe, Field(discriminator="kind")]

__all__ = ["AnyInitialization", "Fitted", "Gaussian", "Initialization", "Probe", "Zeros"]
