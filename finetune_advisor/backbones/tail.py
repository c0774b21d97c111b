"""The part of a network above a stage, run from that stage's cached output.

Generic, because no tracer takes every network: the whole `forward` runs, but each module that ended before
the boundary returns zeros that cost nothing, and the boundary's last module returns the cached tensor. What
lies between the modules in the network's own `forward` (position embeddings, reshapes) runs as ever.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.stages import (
    Call,
    Stage,
    evaluation_mode,
    example_input,
    map_tensors,
    read_stages,
    record_calls,
)
from finetune_advisor.errors import BackboneError

_TOLERANCE = 1e-3


class Tail(nn.Module):
    """A network entered at the end of one of its stages; shares its parameters and its mode with the network.

    `tail(boundary)` equals `net(images)` where `boundary` is what the stage returns for these images, with
    gradients for everything above. Not for use from two threads at once: the network's modules are replaced
    while the tail runs.

    Raises:
        BackboneError: this network cannot be cut there (checked on one image when the tail is made).
    """

    def __init__(
        self, net: nn.Module, boundary: str, *, stages: Sequence[Stage], input_size: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.net = net
        self.boundary = next(stage for stage in stages if stage.name == boundary)
        self.input_size = input_size
        calls = record_calls(net, example_input(net, input_size))
        cut = next(call for call in calls if call.path == self.boundary.end)
        self._replaced = _ended_before(cut, calls)
        self._copy_boundary = cut.changed
        self.boundary_shape = tuple(cut.output.shape[1:])
        self._check()

    def forward(self, boundary: Tensor) -> Tensor:
        """Logits (B, K) from the boundary stage's output (B, ...)."""
        assert tuple(boundary.shape[1:]) == self.boundary_shape, (
            f"above {self.boundary.name} the shape is {self.boundary_shape}, got {tuple(boundary.shape[1:])}"
        )
        given = boundary.clone() if self._copy_boundary else boundary
        x_BCHW = _zeros((len(boundary), *self.input_size), boundary)
        with self._replacing(given):
            logits_BK: Tensor = self.net(x_BCHW)
        return logits_BK

    @contextmanager
    def _replacing(self, boundary: Tensor) -> Iterator[None]:
        modules = []
        try:
            for call in self._replaced:
                module = self.net.get_submodule(call.path)
                # An attribute of the instance hides the method of the class; the tree of modules stays.
                module.forward = _returning(_batch_of(call.output, boundary))
                modules.append(module)
            module = self.net.get_submodule(self.boundary.end)
            module.forward = _returning(boundary)
            modules.append(module)
            yield
        finally:
            for module in modules:
                del module.forward

    def _check(self) -> None:
        x_BCHW = example_input(self.net, self.input_size)
        with evaluation_mode(self.net), torch.no_grad():
            with read_stages(self.net, [self.boundary]) as readings:
                whole_BK = self.net(x_BCHW)
            tail_BK = self(readings[self.boundary.name])
        if not (whole_BK - tail_BK).abs().max() <= _TOLERANCE * whole_BK.abs().max():
            raise BackboneError(
                f"{type(self.net).__name__} cannot be trained on the cached output of {self.boundary.name}: what "
                "lies above also depends on something below",
                "Choose another boundary, or train the whole network.",
            )


def _ended_before(cut: Call, calls: Sequence[Call]) -> tuple[Call, ...]:
    """The largest modules whose every call ended before the boundary's did, without the boundary's own."""
    last_end = {call.path: call.left for call in calls}
    ended = [call for call in calls if call.path != cut.path and last_end[call.path] < cut.left]
    paths = {call.path for call in ended} | {cut.path}
    largest = {call.path: call for call in ended if not any(parent in paths for parent in _parents(call.path))}
    return tuple(largest.values())


def _parents(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _returning(value: Any) -> Callable[..., Any]:
    def forward(*_args: Any, **_kwargs: Any) -> Any:
        return value

    return forward


def _batch_of(output: Any, boundary: Tensor) -> Any:
    """Zeros in the structure recorded for one image, for as many images as the boundary has."""
    return map_tensors(lambda like: _zeros((len(like) * len(boundary), *like.shape[1:]), boundary), output)


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros of any shape in the memory of one number."""
    return like.new_zeros(()).expand(shape)
