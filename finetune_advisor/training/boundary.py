"""The boundary: everything below the lowest stage that trains gives the same output in every epoch.

So it is computed once for each of the first epochs' views of an image (`strategy.cached_views`), and epoch e trains on
view `e % views`: on the same pixels as without a cache as long as there are as many views as epochs.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.stages import Stage
from finetune_advisor.backbones.tail import Tail
from finetune_advisor.data.wording import counted
from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.strategy import FineTuning

SPARE = 0.9
"""Share of the free disk space that may be used."""


class NoBoundary(Exception):
    """The frozen part is not computed ahead; the message says why."""


@dataclass(frozen=True)
class Boundary:
    """Where the network is cut, and what is kept of which images."""

    tail: Tail
    views: int
    images: Mapping[str, int]
    """Of each split that is kept: `train` in all its views, `val` as it is."""
    dtype: str
    """float16, or float32 where images are not augmented: rounding is then the only difference to no cache at all."""

    @property
    def stage(self) -> Stage:
        """The last one that is frozen."""
        return self.tail.boundary

    def shape(self, split: str) -> tuple[int, ...]:
        """Of the kept rows: views, images, and the axes of the stage's output."""
        return (self.views if split == "train" else 1, self.images[split], *self.tail.boundary_shape)

    @property
    def mib(self) -> float:
        """Disk space they take."""
        numbers = sum(math.prod(self.shape(split)) for split in self.images)
        return numbers * (2 if self.dtype == "float16" else 4) / 2**20

    def __str__(self) -> str:
        validation = f" and one of {self.images['val']:,} validation images" if "val" in self.images else ""
        return (
            f"the output of {self.stage.name}, {counted(self.views, 'view')} of {self.images['train']:,} training "
            f"images{validation}, {self.mib:,.0f} MiB in {self.dtype}: only what lies above runs in every epoch"
        )


def plan_boundary(
    backbone: Backbone,
    strategy: FineTuning,
    *,
    images: Mapping[str, int],
    epochs: int,
    augmented: bool,
    most_mib: int,
    folder: Path,
) -> Boundary:
    """Find the boundary, and check that what is kept there would fit.

    Args:
        images: of the splits that are kept.
        epochs: of the whole budget; more views than that are never looked at.
        augmented: whether an image looks different in every epoch.
        most_mib: `runtime.cache_mib`.
        folder: on the disk that would hold it; it need not exist yet.

    Raises:
        NoBoundary: nothing is to be cached, or it does not fit.
    """
    if strategy.cached_views is None:
        raise NoBoundary("strategy.cached_views is null")
    stage = boundary_stage(backbone, strategy)
    if stage is None:
        raise NoBoundary("every stage trains, so no output stays the same")
    try:
        tail = Tail(backbone.net, stage.name, stages=backbone.stages, input_size=backbone.input_size)
    except BackboneError as problem:
        raise NoBoundary(problem.message) from problem
    views = min(strategy.cached_views, epochs) if augmented else 1  # more would all be the same
    boundary = Boundary(tail, views, images, "float16" if augmented else "float32")
    if boundary.mib > most_mib:
        raise NoBoundary(f"it would take {boundary.mib:,.0f} MiB; runtime.cache_mib allows {most_mib:,}")
    free_mib = _free_mib(folder)
    if boundary.mib > SPARE * free_mib:
        raise NoBoundary(f"it would take {boundary.mib:,.0f} MiB; the disk has {free_mib:,.0f} MiB free")
    return boundary


def boundary_stage(backbone: Backbone, strategy: FineTuning) -> Stage | None:
    """The last stage below everything that ever trains; None where the first one does."""
    trained = set(strategy.trainable([stage.name for stage in backbone.stages]))
    lowest = next(index for index, stage in enumerate(backbone.stages) if stage.name in trained)
    return backbone.stages[lowest - 1] if lowest else None


def _free_mib(folder: Path) -> float:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free / 2**20
