"""The training loop.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from finetune_advisor import processes
from finetune_advisor.artifacts.history import Record
from finetune_advisor.data.batches import Batch
from finetune_advisor.techniques.averaging import Averaging, Moment
from finetune_advisor.techniques.loss import Loss
from finetune_advisor.techniques.schedule import Schedule
from finetune_advisor.training.mixing import PairMixing
from finetune_advisor.training.regularize import Regularizer
from finetune_advisor.training.state import Tally, TrainState
from finetune_advisor.training.step import LOWER_RATE, Forward, NotFinite, Step, compute_gradients
from finetune_advisor.training.updates import remember_weights, update_ratios
from finetune_advisor.training.watch import Progress


@dataclass(frozen=True)
class Evaluation:
    """What validation says: `metric` is the recipe's, larger is better."""

    metric: float
    accuracy: float
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """What two evaluations are compared by: the metric, and the lower loss where few images make the metric tie."""
        return self.metric, -self.loss


@dataclass(frozen=True)
class Method:
    """The parts of a recipe that act inside the loop, and what follows from the data."""

    loss: Loss
    schedule: Schedule
    averaging: Averaging | None
    regularizer: Regularizer
    clip: float | None
    class_weight_K: Tensor | None
    seed: int
    steps: int
    steps_per_epoch: int
    micro_batch: int
    """Images that go through the network together; the gradients of a batch are summed over such parts."""
    precision: torch.dtype
    device: torch.device
    mixing: PairMixing | None = None
    asynchronous: bool = False
    """Whether the device works behind the back of the CPU, as a GPU does."""

    def evaluates_after(self, step: int) -> bool:
        """Whether an epoch, or the training, ends with this step (the number of steps done)."""
        return step % self.steps_per_epoch == 0 or step == self.steps

    def measures_update(self, step: int) -> bool:
        """Whether the size of this step (the number of steps done before it) is recorded: once in an epoch."""
        return step % self.steps_per_epoch == self.steps_per_epoch // 2

    def multiplier(self, step: int) -> float:
        """The multiple of the peak rate in a step (the number of steps done before it), evaluations aside."""
        progress = step / self.steps
        scheduled = self.schedule.multiplier(progress)
        return scheduled if self.averaging is None else self.averaging.multiplier(progress, scheduled)

    def autocast(self) -> torch.autocast:
        """Forward passes inside run in the recipe's precision."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


class Stopped(Exception):
    """Training ended between two steps, in all processes alike, because one of them was asked to stop."""


def fit(
    state: TrainState,
    batches: Iterable[Batch],
    method: Method,
    *,
    forward: Forward,
    set_mode: Callable[[], None],
    evaluate: Callable[[], Evaluation | None],
    on_step: Callable[[Progress], None],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Train from `state.step` to the last step; yields a Record at the end of each epoch, after evaluating.

    A state that was saved between the last step of an epoch and its evaluation is evaluated first.

    Args:
        state: changed in place; between two records it can be saved.
        batches: global batch n, or this process's part of it, for every step n still to do.
        method: the parts of the recipe that act here.
        forward: runs the network.
        set_mode: puts the network into its training mode (frozen parts stay in evaluation mode).
        evaluate: scores the network on the validation images; None where all images train.
        on_step: told about every step; on a GPU one step late.
        stop: whether this process was asked to stop.

    Raises:
        NotFinite: the loss or the gradient is not finite; names the step and the images of the batch.
        Stopped: some process was asked to stop; the state can be saved.
    """
    start = perf_counter()
    observer = _Observer(state, method, on_step, stop)
    if state.tally.images and method.evaluates_after(state.step):
        _set_rates(state, method, state.step - 1)
        yield _close_epoch(state, method, evaluate, speed=0.0, start=start)
    set_mode()
    for batch in batches:
        _set_rates(state, method, batch.step)
        step = compute_gradients(state, method, batch, forward=forward, stop=stop())
        stopping = observer.look_at_last()
        if not method.asynchronous:
            step.require_finite()
        before = remember_weights(state.optimizer) if method.measures_update(batch.step) else None
        _update(state, method, step)
        if before is not None:
            state.tally.update_ratio = update_ratios(before)
        state.step = batch.step + 1
        _average(state, method)
        ends = method.evaluates_after(state.step)
        observer.last = step
        if ends or stopping or not method.asynchronous:
            stopping |= observer.look_at_last()
        if stopping:
            raise Stopped
        if ends:
            record = _close_epoch(state, method, evaluate, speed=observer.images_per_second, start=start)
            set_mode()
            yield record
            if any(processes.gather(stop())):
                raise Stopped
            observer = _Observer(state, method, on_step, stop)


class _Observer:
    """Counts steps when their numbers are there; a device that works behind our back is never waited for."""

    def __init__(
        self, state: TrainState, method: Method, on_step: Callable[[Progress], None], stop: Callable[[], bool]
    ) -> None:
        self.state = state
        self.method = method
        self.on_step = on_step
        self.stop = stop
        self.last: Step | None = None
        self.began = perf_counter()
        self.images = 0

    @property
    def images_per_second(self) -> float:
        return self.images / (perf_counter() - self.began)

    def look_at_last(self) -> bool:
        """Count the last step if it has not been counted; whether a process was asked to stop.

        Raises:
            NotFinite: that step should not have been taken.
        """
        if self.last is None:
            return False
        step, self.last = self.last, None
        step.require_finite()
        numbers, images = step.numbers, step.batch.whole
        self.state.tally.add(images, numbers.loss_sum, numbers.correct)
        self.images += images
        done = step.batch.step + 1
        self.on_step(Progress(done, self.method.steps, self.state.tally.loss, self.images_per_second))
        return self.stop() if processes.world_size() == 1 else numbers.stop > 0


def _close_epoch(
    state: TrainState, method: Method, evaluate: Callable[[], Evaluation | None], *, speed: float, start: float
) -> Record:
    tally, state.tally = state.tally, Tally()
    evaluation = evaluate()
    if evaluation is not None and not math.isfinite(evaluation.loss):
        raise NotFinite(f"The loss of the validation images is {evaluation.loss} after step {state.step}.", LOWER_RATE)
    _take_note(state, method.schedule, evaluation)
    events, state.events = [event for told in processes.gather(state.events) for event in told], []
    return Record(
        step=state.step,
        epoch=state.step / method.steps_per_epoch,
        lr={group["name"]: group["lr"] for group in state.optimizer.param_groups},
        train_loss=tally.loss,
        train_accuracy=tally.accuracy,
        val_loss=None if evaluation is None else evaluation.loss,
        val_accuracy=None if evaluation is None else evaluation.accuracy,
        images_per_second=speed,
        seconds=perf_counter() - start,
        events=tuple(dict.fromkeys(events)),
        loss_noise=tally.noise,
        update_ratio=tally.update_ratio or None,
    )


def _set_rates(state: TrainState, method: Method, step: int) -> None:
    factor = method.multiplier(step) * state.schedule.factor * state.rate_factor
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def _update(state: TrainState, method: Method, step: Step) -> None:
    if method.clip is not None:
        parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grads_with_norm_(parameters, method.clip, step.gradient_norm)
    method.regularizer.before_step(state.optimizer.param_groups, progress=state.step / method.steps)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    method.regularizer.after_step(state.optimizer.param_groups)


def _average(state: TrainState, method: Method) -> None:
    if method.averaging is None:
        return
    moment = Moment(state.step / method.steps, method.evaluates_after(state.step), state.average.count)
    if share := method.averaging.weight(moment):
        state.average.add(state.moving, share)


def _take_note(state: TrainState, schedule: Schedule, evaluation: Evaluation | None) -> None:
    """Let the schedule see the evaluation, and remember the best one; without any, the last step is the best."""
    if evaluation is None:
        state.best_step = state.step
        return
    state.schedule = schedule.advance(state.schedule, evaluation.metric)
    if state.best is None or evaluation.metric > state.best[0]:
        state.stale_evaluations = 0
    else:
        state.stale_evaluations += 1
    if state.best is None or evaluation.rank > state.best:
        state.best, state.best_step = evaluation.rank, state.step
