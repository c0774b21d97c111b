"""Each image from near and far."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.ensembling.base import Ensembling, Look, Looks

Share = Annotated[float, Field(gt=0, le=1)]


class MultiScale(Ensembling):
    """Average one network's answers to parts of different size around the center, each at the network's own size.

    For objects of many sizes, at as many times the time of an answer.
    """

    source: ClassVar[str] = "Simonyan & Zisserman 2014, Very Deep Convolutional Networks: testing at several scales"
    not_advised: ClassVar[str] = "It takes several times the time of an answer; what it brings was not measured."
    combines: ClassVar[Literal["answers", "weights", "looks"]] = "looks"
    convex_too: ClassVar[bool] = True

    kind: Literal["multi_scale"] = "multi_scale"
    shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.75, 0.875, 1.0)
    """Sides of the parts as shares of the image's shorter side."""
    mirrored: bool = True
    """Whether the mirror image of each part is shown too."""

    def looks(self, size: int) -> Looks:
        """The parts; the smallest one has `size` pixels, the others are scaled down to it."""
        side = round(size / min(self.shares))
        turns = (False, True) if self.mirrored else (False,)
        parts = [max(size, min(side, round(side * share))) for share in self.shares]
        return Looks(
            side, tuple(Look((side - part) // 2, (side - part) // 2, part, turn) for turn in turns for part in parts)
        )
