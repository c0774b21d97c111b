"""The learning rate range test, with its picture."""

from __future__ import annotations

from pathlib import Path

from finetune_advisor.artifacts.range_test import RangeTest
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.storage import require_writable
from finetune_advisor.reporting.range_test import draw_range_test
from finetune_advisor.training.find_lr import find_lr
from finetune_advisor.training.watch import Watcher


def find_lr_and_draw(
    recipe: Recipe, picture: Path, *, device: str = "cpu", watcher: Watcher | None = None
) -> RangeTest:
    """Sweep the learning rate and draw what it did to the loss; a picture that is there is replaced.

    Raises:
        FinetuneAdvisorError: see `find_lr`; or the picture cannot be written.
    """
    require_writable(picture)
    test = find_lr(recipe, device=device, watcher=watcher)
    draw_range_test(test, picture)
    return test
