"""The average of the weights along the way, and how it takes the network's place.

Shapes: B images of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor import processes
from finetune_advisor.loading.batches import Batch


@dataclass
class Average:
    """A running average of the tensors that training moves, by their names in the network's state dict.

    Attributes:
        count: how often a network has gone into it; 0 means that there is none yet.
        tensors: on the network's device.
    """

    count: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def add(self, now: Mapping[str, Tensor], share: float) -> None:
        """Go `share` of the way toward the network as it is `now`; the first time the average becomes the network."""
        if self.count == 0:
            self.tensors = {name: value.clone() for name, value in now.items()}
        else:
            torch._foreach_lerp_(list(self.tensors.values()), [now[name] for name in self.tensors], share)
        self.count += 1

    def restore(self, count: int, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
        """Become what was saved; on the device and in the memory layout of the network, which decide the last bits."""
        self.count = count
        self.tensors = {name: torch.empty_like(like[name]).copy_(value) for name, value in tensors.items()}

    @contextmanager
    def inside(self, now: Mapping[str, Tensor]) -> Iterator[None]:
        """The network of these tensors is the average while the block runs, and then what it was, to the bit.

        BatchNorm statistics that the block measures stay in the average.
        """
        before = {name: value.clone() for name, value in now.items()}
        _copy(self.tensors, now)
        try:
            yield
            _copy({name: now[name] for name in self.tensors}, self.tensors)
        finally:
            _copy(before, now)


def moving_tensors(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors themselves, not copies: parameters of the optimizer, also those that thaw later, and statistics.

    What never moves needs no average.
    """
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    parameters = {name: p.detach() for name, p in net.named_parameters() if id(p) in trained}
    statistics = {
        f"{path}.{name}": buffer
        for path, module in net.named_modules()
        if isinstance(module, _BatchNorm)
        for name, buffer in module.named_buffers(recurse=False)
        if buffer.is_floating_point()
    }
    return parameters | statistics


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        target[name].copy_(value)


def fit_batch_norm(
    net: nn.Module,
    batches: Callable[[], Iterable[Batch]],
    *,
    forward: Callable[[Tensor], Tensor],
    set_mode: Callable[[], object],
    device: torch.device,
) -> None:
    """Measure the BatchNorm statistics of a network on training batches, all counting the same; in all processes alike.

    Only where they follow the data: those that `set_mode` leaves in evaluation mode stay as they are, and where there
    are no others nothing is read. Dropout is off, as it will be when the statistics are used.

    Args:
        batches: makes the training batches to measure on.
        forward: runs the network.
        set_mode: puts the network into its training mode.
    """
    set_mode()
    following = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    net.eval()
    if not following:
        return
    momenta = [module.momentum for module in following]
    for module in following:
        module.reset_running_stats()
        module.momentum = None  # torch's word for a plain mean over the batches
        module.train()
    try:
        with torch.no_grad():
            images = 0
            for batch in batches():
                if batch.names:
                    forward(batch.on(device).inputs)
                images += len(batch.names)
            _share(following, images)
    finally:
        net.eval()
        for module, momentum in zip(following, momenta, strict=True):
            module.momentum = momentum


def _share(layers: Sequence[_BatchNorm], images: int) -> None:
    """Give every process the mean of what each has measured, weighted by its number of images."""
    if processes.world_size() == 1:
        return
    statistics = [s for layer in layers for s in (layer.running_mean, layer.running_var) if s is not None]
    total = statistics[0].new_tensor([float(images)])
    processes.add_up([*(statistic.mul_(images) for statistic in statistics), total])
    for statistic in statistics:
        statistic.div_(total)
