"""Registry of `averaging:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.averaging.base import Averaging, Moment
from finetune_advisor.techniques.averaging.ema import Ema
from finetune_advisor.techniques.averaging.swa import Swa

AnyAveraging: TypeAlias = Annotated[Ema | Swa, Field(discriminator="kind")]

__all__ = ["AnyAveraging", "Averaging", "Ema", "Moment", "Swa"]
