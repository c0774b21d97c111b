"""Ten looks at each image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.ensembling.base import Ensembling, Look, Looks


class TenCrop(Ensembling):
    """Average one network's answers to the corners and the center of an image, and to their mirror images.

    For a little more accuracy at ten times the time of an answer; wrong where the side carries the label.
    """

    source: ClassVar[str] = "Krizhevsky et al. 2012, ImageNet Classification with Deep CNNs; slides: 10-view testing"
    not_advised: ClassVar[str] = "It takes ten times the time of an answer; what it brings was not measured."
    combines: ClassVar[Literal["answers", "weights", "looks"]] = "looks"
    convex_too: ClassVar[bool] = True

    kind: Literal["ten_crop"] = "ten_crop"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.875
    """Side of a crop as a share of the image's shorter side."""
    mirrored: bool = True
    """false: five crops, for images whose mirror image means something else."""

    def looks(self, size: int) -> Looks:
        """The crops, each of `size` pixels."""
        side = max(size + 1, round(size / self.share))
        far, middle = side - size, (side - size) // 2
        corners = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
        turns = (False, True) if self.mirrored else (False,)
        return Looks(side, tuple(Look(top, left, size, turn) for turn in turns for top, left in corners))
