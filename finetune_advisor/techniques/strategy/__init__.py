"""Registry of `strategy:`, the four cells of the table."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.strategy.base import FineTuning, Probe, Strategy
from finetune_advisor.techniques.strategy.few_layers import FewLayers
from finetune_advisor.techniques.strategy.linear_probe import LinearProbe
from finetune_advisor.techniques.strategy.many_layers import ManyLayers
from finetune_advisor.techniques.strategy.stage_probe import StageProbe

AnyStrategy: TypeAlias = Annotated[LinearProbe | StageProbe | FewLayers | ManyLayers, Field(discriminator="kind")]

__all__ = [
    "AnyStrategy",
    "FewLayers",
    "FineTuning",
    "LinearProbe",
    "ManyLayers",
    "Probe",
    "StageProbe",
    "Strategy",
]
