"""Cosine decay."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.schedule.base import FromPeak, half_cosine


class Cosine(FromPeak):
    """Fall along half a cosine.

    For training from the peak on, where its length is known.
    """

    source: ClassVar[str] = "Loshchilov & Hutter 2017, SGDR; Goyal et al. 2017, Accurate, Large Minibatch SGD (warmup)"
    not_advised: ClassVar[str] = "It is `one_cycle` with a shorter rise; the two were not compared."

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of all steps in which the rate rises along a line to its peak; 0 starts there."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiple of the peak rate at the end."""

    def after_warmup(self, progress: float) -> float:
        """Half a cosine from 1 to `floor`."""
        return half_cosine(1.0, self.floor, progress)
