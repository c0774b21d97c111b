"""Records sent to an experiment tracker, through accelerate."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from finetune_advisor.artifacts.history import Record
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.errors import RunError


def require_tracker(recipe: Recipe) -> None:
    """Check that the tracker a recipe asks for is installed, before any work is done.

    Raises:
        RunError: it is not.
    """
    name = recipe.runtime.tracker
    if name is not None and importlib.util.find_spec(name) is None:
        raise RunError(
            f"runtime.tracker is {name}, which is not installed.",
            f"Install it: `pip install {name}`; or track nothing: `--set runtime.tracker=null`.",
        )


@contextmanager
def tracked(recipe: Recipe, run: RunDir) -> Iterator[Callable[[Record], None]]:
    """What each Record is to be told to while the block runs; nothing where the recipe asks for no tracker.

    TensorBoard's files lie in the run folder; the others go where their own settings (`WANDB_...`, `MLFLOW_...`) say.
    """
    if recipe.runtime.tracker is None:
        yield lambda record: None  # noqa: ARG005
        return
    tracker = _open(recipe.runtime.tracker, recipe, run)
    try:
        yield lambda record: tracker.log(scalars(record), step=record.step)
    finally:
        tracker.finish()


def scalars(record: Record) -> dict[str, float]:
    """A record's numbers under the names that trackers group by their first part."""
    named = {
        "train/loss": record.train_loss,
        "train/accuracy": record.train_accuracy,
        "val/loss": record.val_loss,
        "val/accuracy": record.val_accuracy,
        "epoch": record.epoch,
        "images_per_second": record.images_per_second,
        "strength": record.strength,
        **{f"lr/{group}": rate for group, rate in (record.lr or {}).items()},
    }
    return {name: value for name, value in named.items() if value is not None}


def _open(name: str, recipe: Recipe, run: RunDir) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker

    PartialState()  # accelerate's logger asks it which process this is
    tracker: Any
    if name == "tensorboard":
        tracker = TensorBoardTracker("", logging_dir=run.tensorboard)
    elif name == "wandb":
        tracker = WandBTracker("finetune-advisor", name=run.path.name, dir=str(run.path), config=recipe.model_dump())
    else:
        tracker = MLflowTracker("finetune-advisor", run_name=run.path.name)
    tracker.start()
    return tracker
