"""Records sent to an experiment tracker: TensorBoard, Weights & Biases or MLflow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from finetune_advisor.errors import RunError
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import Record
from finetune_advisor.records.rundir import RunDir

PROJECT = "finetune-advisor"

Log: TypeAlias = Callable[[Mapping[str, float], int], None]
"""(numbers by name, step)."""


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
    with ExitStack() as open_until_the_end:
        log = _OPENERS[recipe.runtime.tracker](recipe, run, open_until_the_end)
        yield lambda record: log(scalars(record), record.step)


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


def _tensorboard(recipe: Recipe, run: RunDir, until_the_end: ExitStack) -> Log:  # noqa: ARG001
    from torch.utils.tensorboard import SummaryWriter

    writer = until_the_end.enter_context(SummaryWriter(run.tensorboard))

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return log


def _wandb(recipe: Recipe, run: RunDir, until_the_end: ExitStack) -> Log:
    import wandb

    tracked_run = until_the_end.enter_context(
        wandb.init(project=PROJECT, name=run.path.name, dir=str(run.path), config=recipe.model_dump(mode="json"))
    )
    return lambda values, step: tracked_run.log(dict(values), step=step)


def _mlflow(recipe: Recipe, run: RunDir, until_the_end: ExitStack) -> Log:  # noqa: ARG001
    import mlflow

    # The environment names the experiment where it names one.
    if "MLFLOW_EXPERIMENT_NAME" not in os.environ and "MLFLOW_EXPERIMENT_ID" not in os.environ:
        mlflow.set_experiment(PROJECT)
    until_the_end.enter_context(mlflow.start_run(run_name=run.path.name))
    return lambda values, step: mlflow.log_metrics(dict(values), step=step)


_OPENERS: Mapping[str, Callable[[Recipe, RunDir, ExitStack], Log]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
