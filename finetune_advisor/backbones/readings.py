"""Read features at the ends of stages while the network runs.

Shapes: B batch, C channels, H height, W width, N positions, D pooled features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.stages import Stage

VARIANCE_FLOOR = 1e-12
"""Added to a variance before its root is taken, so that a constant channel has a finite gradient."""


class EnoughRead(Exception):
    """Ends a forward pass early: everything asked for has been read."""


def pool(output: Tensor, stage: Stage) -> Tensor:
    """Mean and standard deviation over positions of each channel of a stage's output, (B, 2C) in float32.

    Takes every layout a stage may have. Tokens that stand for no image patch are left out. Where there is one
    value a channel, the deviation is (almost) zero.
    """
    x_BCN = positions_last(output, stage).float()
    mean_BC = x_BCN.mean(2)
    variance_BC = x_BCN.var(2, correction=0)
    return torch.cat([mean_BC, (variance_BC + VARIANCE_FLOOR).sqrt()], dim=1)


def positions_last(output: Tensor, stage: Stage) -> Tensor:
    """A stage's output as (B, C, N), channels first and all N image positions in one axis."""
    match stage.layout:
        case "NCHW":
            return output.flatten(2)
        case "NHWC":
            return output.flatten(1, 2).transpose(1, 2)
        case "NLC":
            return output[:, stage.prefix_tokens :].transpose(1, 2)
        case "NC":
            return output[:, :, None]


def pooled_feature(classifier_input: Tensor) -> Tensor:
    """What enters the classifier as (B, D) in float32; some networks have a 1 x 1 convolution there."""
    return classifier_input.flatten(1).float()


def _copy(output: Tensor, _stage: Stage) -> Tensor:
    return output.clone()


@contextmanager
def read_stages(
    net: nn.Module,
    stages: Iterable[Stage],
    *,
    reduce: Callable[[Tensor, Stage], Tensor] = _copy,
    stop_after: Stage | None = None,
) -> Iterator[dict[str, Tensor]]:
    """While the block runs, fill a dict: stage name -> `reduce(output, stage)` of the last forward pass.

    The default copies the output, because some networks go on to change it in place. With `stop_after`, a
    forward pass ends at that stage by raising `EnoughRead`.
    """
    readings: dict[str, Tensor] = {}

    def reader(stage: Stage) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            readings[stage.name] = reduce(output, stage)

        return hook

    def stop(_module: nn.Module, _args: Any, _output: Any) -> None:
        raise EnoughRead

    with ExitStack() as stack:
        for stage in stages:
            module = net.get_submodule(stage.end)
            stack.callback(module.register_forward_hook(reader(stage)).remove)
        if stop_after is not None:
            module = net.get_submodule(stop_after.end)
            stack.callback(module.register_forward_hook(stop).remove)
        yield readings


@contextmanager
def read_inputs(
    net: nn.Module, paths: Iterable[str], *, reduce: Callable[[Tensor], Tensor]
) -> Iterator[dict[str, Tensor]]:
    """While the block runs, fill a dict: module path -> `reduce(first input)` of the last forward pass."""
    readings: dict[str, Tensor] = {}

    def reader(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(_module: nn.Module, args: Any) -> None:
            readings[path] = reduce(args[0])

        return hook

    with ExitStack() as stack:
        for path in paths:
            stack.callback(net.get_submodule(path).register_forward_pre_hook(reader(path)).remove)
        yield readings
