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
        # TensorBoard shows a run while it trains, and a run that is killed keeps what it has measured.
        writer.flush()

    return log


def _wandb(recipe: Recipe, run: RunDir, until_the_end: ExitStack) -> Log:
    import wandb

    config = recipe.model_dump(mode="json")
    tracked_run = wandb.init(project=PROJECT, name=run.path.name, dir=str(run.path), config=config)
    # As a context manager it would print the traceback of whatever ends the run, Ctrl-C included.
    until_the_end.callback(tracked_run.finish)
    return lambda values, step: tracked_run.log(dict(values), step=step)


def _mlflow(recipe: Recipe, run: RunDir, until_the_end: ExitStack) -> Log:  # noqa: ARG001
    import mlflow

    # Not by `set_experiment`, which holds for every later run of this process and contradicts a MLFLOW_RUN_ID.
    experiment = None
    if "MLFLOW_EXPERIMENT_NAME" not in os.environ and "MLFLOW_EXPERIMENT_ID" not in os.environ:
        found = mlflow.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found is not None else mlflow.create_experiment(PROJECT)
    mlflow.start_run(experiment_id=experiment, run_name=run.path.name)
    until_the_end.callback(mlflow.end_run)
    return lambda values, step: mlflow.log_metrics(dict(values), step=step)


_OPENERS: Mapping[str, Callable[[Recipe, RunDir, ExitStack], Log]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
