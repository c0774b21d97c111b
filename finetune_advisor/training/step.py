"""The gradients of one step: summed over the parts of a batch, then over all processes.

There is no DistributedDataParallel around the network. It reduces inside every backward pass, so it would want to be
told of accumulation, of parameters that freeze or thaw, and of processes without images; and it averages over processes
where we divide by the images of the whole batch. One flat sum after the last part needs none of that. What it gives up,
sending during the backward pass, pays for networks larger than those that are fine-tuned here.

A GPU works behind the back of the CPU. Nothing here waits for it: the numbers of a step are sent on their way, and who
reads them a step later does not stop the work.

Shapes: B images of a part, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor import processes
from finetune_advisor.data.batches import Batch
from finetune_advisor.data.sending import sent_to
from finetune_advisor.errors import RunError
from finetune_advisor.training.feature_cost import features_of, readings, slope_at, statistics_kept
from finetune_advisor.training.mixing import recognized
from finetune_advisor.training.recovery import within_memory
from finetune_advisor.training.state import TrainState

if TYPE_CHECKING:
    from finetune_advisor.training.loop import Method

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
            (cost / batch.whole).backward()  # type: ignore[no-untyped-call]
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
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
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
