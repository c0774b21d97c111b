"""Which modules a forward pass calls, in which order, and what shapes they return.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a submodule: `entered` and `left` count events of the forward pass.

    `output` has the structure of what was returned, with meta tensors (shape and dtype, no content).
    `changed` says that the returned tensor was modified in place by what came after.
    """

    path: str
    entered: int
    left: int
    output: Any
    changed: bool


def record_calls(net: nn.Module, x_BCHW: Tensor) -> tuple[Call, ...]:
    """Run `net` once in evaluation mode, without gradients; the calls of its submodules as they ended."""
    clock = itertools.count()
    entered: list[int] = []
    left: list[tuple[str, int, int, Any, int]] = []

    def before(_module: nn.Module, _args: Any) -> None:
        entered.append(next(clock))

    def after(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            left.append((path, entered.pop(), next(clock), output, _version(output)))

        return hook

    with ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                stack.callback(module.register_forward_pre_hook(before).remove)
                stack.callback(module.register_forward_hook(after(path)).remove)
        with evaluation_mode(net), torch.no_grad():
            net(x_BCHW)
    return tuple(
        Call(path, start, end, map_tensors(_meta, output), changed=_version(output) != version)
        for path, start, end, output, version in left
    )


def example_input(net: nn.Module, input_size: tuple[int, int, int]) -> Tensor:
    """A batch of one reproducible noise image (1, C, H, W) on the device and in the dtype of the net."""
    parameter = next(net.parameters())
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, *input_size, generator=generator).to(parameter)


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Switch the whole net to evaluation mode, and each module back to the mode it was in."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply `function` to every tensor in nested tuples, lists and dicts; leave everything else as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    return value


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _version(output: Any) -> int:
    return output._version if isinstance(output, Tensor) else 0
