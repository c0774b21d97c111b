"""Registry of `strategy:`: the four cells of the table first, then what a person may choose instead."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.strategy.base import FineTuning, Probe, Strategy
from finetune_advisor.techniques.strategy.fine_tuning import (
    AllLayers,
    FewLayers,
    FromScratch,
    GradualUnfreezing,
    ManyLayers,
    ProbeThenFineTune,
)
from finetune_advisor.techniques.strategy.probes import LinearProbe, StageProbe

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
