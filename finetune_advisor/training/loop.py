"""The training loop.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from finetune_advisor.artifacts.history import Record
from finetune_advisor.data.batches import Batch
from finetune_advisor.errors import RunError
from finetune_advisor.techniques.loss import Loss
from finetune_advisor.techniques.regularization import Regularization
from finetune_advisor.techniques.schedule import Schedule
from finetune_advisor.training.state import Tally, TrainState
from finetune_advisor.training.watch import Progress

Forward = Callable[[Tensor], Tensor]
"""Inputs of a batch, on the device -> logits (B, K), with gradients."""


@dataclass(frozen=True)
class Evaluation:
    """What validation says: `metric` is the recipe's, larger is better."""

    metric: float
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Method:
    """The parts of a recipe that act inside the loop, and what follows from the data."""

    loss: Loss
    schedule: Schedule
    regularization: Sequence[Regularization]
    clip: float | None
    class_weight_K: Tensor | None
    seed: int
    steps: int
    steps_per_epoch: int
    micro_batch: int
    """Images that go through the network together; the gradients of a batch are summed over such parts."""
    precision: torch.dtype
    device: torch.device

    def evaluates_after(self, step: int) -> bool:
        """Whether an epoch, or the training, ends with this step (the number of steps done)."""
        return step % self.steps_per_epoch == 0 or step == self.steps

    def autocast(self) -> torch.autocast:
        """Forward passes inside run in the recipe's precision."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


def fit(
    state: TrainState,
    batches: Iterable[Batch],
    method: Method,
    *,
    forward: Forward,
    set_mode: Callable[[], None],
    evaluate: Callable[[], Evaluation],
    on_step: Callable[[Progress], None],
) -> Iterator[Record]:
    """Train from `state.step` to the last step; yields a Record at the end of each epoch, after evaluating.

    A state that was saved between the last step of an epoch and its evaluation is evaluated first.

    Args:
        state: changed in place; between two records it can be saved.
        batches: global batch n for every step n still to do.
        method: the parts of the recipe that act here.
        forward: runs the network.
        set_mode: puts the network into its training mode (frozen parts stay in evaluation mode).
        evaluate: scores the network on the validation images.
        on_step: told about every step.

    Raises:
        RunError: the loss is not finite; names the step and the images of the batch.
    """
    start = perf_counter()
    speedometer = _Speedometer()
    if state.tally.images and method.evaluates_after(state.step):
        _set_rates(state, method.schedule, (state.step - 1) / method.steps)
        yield _close_epoch(state, method, evaluate, speed=0.0, start=start)
    set_mode()
    for batch in batches:
        _step(state, method, batch, forward)
        speedometer.add(len(batch.labels_B))
        on_step(Progress(state.step, method.steps, state.tally.loss, speedometer.images_per_second))
        if method.evaluates_after(state.step):
            record = _close_epoch(state, method, evaluate, speed=speedometer.images_per_second, start=start)
            set_mode()
            yield record
            speedometer = _Speedometer()


def _step(state: TrainState, method: Method, batch: Batch, forward: Forward) -> None:
    """One update; the gradient is that of the mean loss over the whole batch, whatever its parts."""
    torch.manual_seed(step_seed(method.seed, batch.step))
    _set_rates(state, method.schedule, batch.step / method.steps)
    for part in batch.parts(method.micro_batch):
        labels_B = part.labels_B.to(method.device, non_blocking=True)
        with method.autocast():
            logits_BK = forward(part.inputs.to(method.device, non_blocking=True))
            loss = method.loss.per_image(logits_BK.float(), labels_B, method.class_weight_K).sum()
        (loss / batch.whole).backward()  # type: ignore[no-untyped-call]
        _require_finite(loss, part)
        state.tally.add(loss, logits_BK, labels_B)
    _update(state, method)
    state.step = batch.step + 1


def _close_epoch(
    state: TrainState, method: Method, evaluate: Callable[[], Evaluation], *, speed: float, start: float
) -> Record:
    tally, state.tally = state.tally, Tally()
    evaluation = evaluate()
    _take_note(state, method.schedule, evaluation)
    return Record(
        step=state.step,
        epoch=state.step / method.steps_per_epoch,
        lr={group["name"]: group["lr"] for group in state.optimizer.param_groups},
        train_loss=tally.loss,
        train_accuracy=tally.accuracy,
        val_loss=evaluation.loss,
        val_accuracy=evaluation.accuracy,
        images_per_second=speed,
        seconds=perf_counter() - start,
    )


def _set_rates(state: TrainState, schedule: Schedule, progress: float) -> None:
    factor = schedule.multiplier(progress) * state.schedule.factor
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def _update(state: TrainState, method: Method) -> None:
    if method.clip is not None:
        parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, method.clip)
    decaying = [group for group in state.optimizer.param_groups if group["decays"]]
    for technique in method.regularization:
        for group in decaying:
            technique.before_step(group["params"], group["lr"])
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    for technique in method.regularization:
        for group in decaying:
            technique.after_step(group["params"])


def _require_finite(loss: Tensor, batch: Batch) -> None:
    if math.isfinite(found := float(loss.detach())):
        return
    raise RunError(
        f"The loss is {found} at step {batch.step + 1}. Images of that batch: {', '.join(batch.names)}.",
        "Lower the rate (`--set optimizer.lr=...`); the checkpoints before this step are intact.",
    )


def _take_note(state: TrainState, schedule: Schedule, evaluation: Evaluation) -> None:
    """Let the schedule see the evaluation, and remember the best one."""
    state.schedule = schedule.advance(state.schedule, evaluation.metric)
    if state.best_metric is None or evaluation.metric > state.best_metric:
        state.best_metric, state.best_step, state.stale_evaluations = evaluation.metric, state.step, 0
    else:
        state.stale_evaluations += 1


def step_seed(seed: int, step: int) -> int:
    """Seed of everything random inside a step (dropout): a pure function, so that a resumed run repeats it."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


class _Speedometer:
    def __init__(self) -> None:
        self.began = perf_counter()
        self.images = 0

    def add(self, images: int) -> None:
        self.images += images

    @property
    def images_per_second(self) -> float:
        return self.images / (perf_counter() - self.began)
