"""The training loop, and the gradients of one step over the parts of a batch and all processes.

There is no DistributedDataParallel around the network. It reduces inside every backward pass, so it would want to be
told of accumulation, of parameters that freeze or thaw, and of processes without images; and it averages over processes
where we divide by the images of the whole batch. One flat sum after the last part needs none of that. What it gives up,
sending during the backward pass, pays for networks larger than those that are fine-tuned here.

A GPU works behind the back of the CPU. Nothing here waits for it: the numbers of a step are sent on their way, and who
reads them a step later does not stop the work.

Source: Karpathy, "CS231n: Convolutional Neural Networks for Visual Recognition", 2015 (ratio of weights to updates).

Shapes: B images of a batch or of a part of one, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor import processes
from finetune_advisor.errors import RunError
from finetune_advisor.loading.batches import Batch, sent_to
from finetune_advisor.records.history import Record
from finetune_advisor.techniques.averaging import Averaging, Moment
from finetune_advisor.techniques.loss import Loss
from finetune_advisor.techniques.schedule import Schedule
from finetune_advisor.training.data_feed import PairMixing, recognized
from finetune_advisor.training.param_groups import Regularizer, features_of, readings, slope_at, statistics_kept
from finetune_advisor.training.state import Tally, TrainState, within_memory
from finetune_advisor.training.watch import Progress

Forward = Callable[[Tensor], Tensor]
"""Inputs of a batch, on the device -> logits (B, K), with gradients."""


LOWER_RATE = "Lower the rate (`--set optimizer.lr=...`); the checkpoints before this step are intact."


class NotFinite(RunError):
    """The loss or its gradient is no number any more; the weights of the last step are still good."""


class Numbers(NamedTuple):
    """What a step has to tell, summed over all processes."""

    loss_sum: float
    correct: float
    stop: float
    """Processes that were asked to stop."""
    gradient_norm: float


@dataclass(frozen=True)
class Step:
    """A step whose gradients are in the network, and whose numbers may still be on their way from the device."""

    batch: Batch
    gradient_norm: Tensor
    _sent: Tensor
    _arrived: torch.cuda.Event | None

    @cached_property
    def numbers(self) -> Numbers:
        """Waits until they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return Numbers(*self._sent.tolist())

    def require_finite(self) -> None:
        """Check that the step may be taken; in all processes alike.

        Raises:
            NotFinite: names the step and the images of its batch.
        """
        loss, norm = self.numbers.loss_sum, self.numbers.gradient_norm
        if math.isfinite(loss) and math.isfinite(norm):
            return
        names = [name for part in processes.gather(self.batch.names) for name in part]
        what = f"gradient is {norm}" if math.isfinite(loss) else f"loss is {loss}"
        raise NotFinite(
            f"The {what} at step {self.batch.step + 1}. Images of that batch: {', '.join(names)}.",
            LOWER_RATE,
        )


def compute_gradients(state: TrainState, method: Method, batch: Batch, *, forward: Forward, stop: bool) -> Step:
    """Leave the gradient of the mean loss over the whole batch in the parameters that are trained.

    Args:
        batch: this process's images of the step, maybe none.
        stop: whether this process was asked to stop; the others learn of it.
    """
    slope_D = _feature_slope(state, method, batch, forward)
    sums = within_memory(
        state, method.micro_batch, lambda size: _accumulated(state, method, batch, forward, size, slope_D)
    )
    told = _add_up(state, sums, batch, stop=stop)
    norm = torch.nn.utils.get_total_norm([p.grad for p in _trained(state) if p.grad is not None])
    return _sending(batch, norm, torch.cat([told, norm.detach().to(told).view(1)]))


def _accumulated(
    state: TrainState, method: Method, batch: Batch, forward: Forward, size: int, slope_D: Tensor | None
) -> Tensor:
    """Sum the gradients of parts of at most `size` images; returns the sums of losses and of recognized images."""
    sums = torch.zeros(2, device=method.device)
    with _readings(state, method) as readings_BD:
        for part in _parts(method, batch, size):
            with method.autocast(), _understood():
                logits_BK = forward(part.inputs)
                loss = method.loss.per_image(logits_BK.float(), part.target, method.class_weight_K).sum()
            cost = loss if slope_D is None else loss + (readings_BD() @ slope_D).sum()
            (cost / batch.whole).backward()
            sums += torch.stack([loss.detach(), recognized(logits_BK.detach(), part)])
    return sums


def _parts(method: Method, batch: Batch, size: int) -> Iterator[Batch]:
    """The batch on the device, in parts of at most `size` images; what is random in a pass begins anew."""
    torch.manual_seed(step_seed(method.seed, batch.step, processes.rank()))
    if batch.names:
        batch = batch.on(method.device)
        yield from (batch if method.mixing is None else method.mixing(batch)).parts(size)


def _feature_slope(state: TrainState, method: Method, batch: Batch, forward: Forward) -> Tensor | None:
    """The slope of the cost of features at their averages over the whole batch; None where they cost nothing."""
    technique = method.regularizer.penalty
    if technique is None:
        return None
    sum_D = within_memory(state, method.micro_batch, lambda size: _summed(state, method, batch, forward, size))
    return slope_at(technique, sum_D, batch.whole)


def _summed(state: TrainState, method: Method, batch: Batch, forward: Forward, size: int) -> Tensor:
    """The readings of this process's images, summed, from the same passes that train."""
    sum_D = torch.zeros(features_of(state.net), device=method.device)
    with torch.no_grad(), statistics_kept(state.net), _readings(state, method) as readings_BD:
        for part in _parts(method, batch, size):
            with method.autocast(), _understood():
                forward(part.inputs)
            sum_D += readings_BD().sum(dim=0)
    return sum_D


def _readings(state: TrainState, method: Method) -> AbstractContextManager[Callable[[], Tensor]]:
    technique = method.regularizer.penalty
    return nullcontext(lambda: torch.empty(0)) if technique is None else readings(state.net, technique)


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RunError(
            "BatchNorm in training mode cannot learn from one image at a time, and here it sees a single value of it.",
            "Raise optimizer.batch and optimizer.micro_batch to at least 2, or set strategy.batch_norm to frozen.",
        ) from error


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of everything random inside a step (dropout): a pure function, so that a resumed run repeats it."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)


def _sending(batch: Batch, norm: Tensor, numbers: Tensor) -> Step:
    if numbers.device.type != "cuda":
        return Step(batch, norm, numbers, None)
    sent = torch.empty_like(numbers, device="cpu", pin_memory=True)
    sent.copy_(numbers, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return Step(batch, norm, sent, arrived)


def _trained(state: TrainState) -> list[nn.Parameter]:
    return [p for group in state.optimizer.param_groups for p in group["params"] if p.requires_grad]


def _add_up(state: TrainState, sums: Tensor, batch: Batch, *, stop: bool) -> Tensor:
    """Sum gradients and `sums` over all processes; returns the latter and how many want to stop.

    Statistics that BatchNorm gathers become their mean over the images, so that all processes keep the same network.
    A parameter of which no process has a gradient gets one of zeros.
    """
    told = torch.cat([sums, sent_to(sums.device, torch.tensor([float(stop)]))])
    if processes.world_size() == 1:
        return told
    gradients = []
    for parameter in _trained(state):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    statistics = _moving_statistics(state.net)
    share = len(batch.names) / batch.whole
    processes.add_up([*gradients, told, *(statistic.mul_(share) for statistic in statistics)])
    return told


def _moving_statistics(net: nn.Module) -> list[Tensor]:
    """What the layers of BatchNorm in training mode keep of the images they saw."""
    return [
        buffer
        for module in net.modules()
        if isinstance(module, _BatchNorm) and module.training
        for buffer in module.buffers(recurse=False)
        if buffer.is_floating_point()
    ]


Weights = Mapping[str, tuple[list[nn.Parameter], list[Tensor]]]
"""By group: the weights in training, and copies of what they were."""


def remember_weights(optimizer: torch.optim.Optimizer) -> Weights:
    """Copies of the weights that the next step moves; norms and biases, which may well be zero, are left out."""
    moving = {
        group["name"]: [p for p in group["params"] if p.grad is not None]
        for group in optimizer.param_groups
        if group["decays"]
    }
    return {name: (weights, [w.detach().clone() for w in weights]) for name, weights in moving.items() if weights}


def update_ratios(before: Weights) -> dict[str, float]:
    """By group: the norm of what changed over the norm of what was; groups that were zero are left out.

    Waits for the device: ask once an epoch.
    """
    ratios = {}
    for name, (weights, copies) in before.items():
        was = torch.nn.utils.get_total_norm(copies)
        moved = torch.nn.utils.get_total_norm([w.detach() - c for w, c in zip(weights, copies, strict=True)])
        if (size := float(was)) > 0:
            ratios[name] = float(moved) / size
    return ratios


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
    set_mode: Callable[[], object],
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
