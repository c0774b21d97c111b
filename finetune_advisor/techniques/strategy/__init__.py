"""Registry of `strategy:`: the four cells of the table first, then what a person may choose instead."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.strategy.all_layers import AllLayers
from finetune_advisor.techniques.strategy.base import FineTuning, Probe, Strategy
from finetune_advisor.techniques.strategy.few_layers import FewLayers
from finetune_advisor.techniques.strategy.from_scratch import FromScratch
from finetune_advisor.techniques.strategy.gradual_unfreezing import GradualUnfreezing
from finetune_advisor.techniques.strategy.linear_probe import LinearProbe
from finetune_advisor.techniques.strategy.many_layers import ManyLayers
from finetune_advisor.techniques.strategy.probe_then_fine_tune import ProbeThenFineTune
from finetune_advisor.techniques.strategy.stage_probe import StageProbe

AnyStrategy: TypeAlias = Annotated[
    LinearProbe | StageProbe | FewLayers | ManyLayers | AllLayers | FromScratch | GradualUnfreezing | ProbeThenFineTune,
    Field(discriminator="kind"),
]

__all__ = [
    "AllLayers",
    "AnyStrategy",
    "FewLayers",
    "FineTuning",
    "FromScratch",
    "GradualUnfreezing",
    "LinearProbe",
    "ManyLayers",
    "Probe",
    "ProbeThenFineTune",
    "StageProbe",
    "Strategy",
]
