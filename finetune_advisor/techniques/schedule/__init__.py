"""Registry of `schedule:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.schedule.base import Schedule, ScheduleState
from finetune_advisor.techniques.schedule.constant import Constant
from finetune_advisor.techniques.schedule.cosine import Cosine
from finetune_advisor.techniques.schedule.cyclic import Cyclic
from finetune_advisor.techniques.schedule.one_cycle import OneCycle
from finetune_advisor.techniques.schedule.plateau import Plateau
from finetune_advisor.techniques.schedule.polynomial import Polynomial
from finetune_advisor.techniques.schedule.step import Step

AnySchedule: TypeAlias = Annotated[
    Constant | Cosine | OneCycle | Polynomial | Step | Cyclic | Plateau, Field(discriminator="kind")
]

__all__ = [
    "AnySchedule",
    "Constant",
    "Cosine",
    "Cyclic",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "ScheduleState",
    "Step",
]
