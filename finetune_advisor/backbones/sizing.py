"""Whether the sizes in a convolutional network work out: for networks that are trained from scratch.

Source: slides, during training (eliminate sizing headaches): images of a power of two, 3 x 3 convolutions of stride 1
with a border of zeros that keep the size, pooling by 2 x 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.stages import evaluation_mode, example_input

Window = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class _Pass:
    """A convolution or pooling as it ran on one image: the sides of what went in and came out, in positions."""

    path: str
    module: Window
    before: int
    after: int

    @property
    def window(self) -> int:
        return _side(self.module.kernel_size)

    @property
    def stride(self) -> int:
        return _side(self.module.stride)


def sizing_remarks(backbone: Backbone) -> tuple[str, ...]:
    """One sentence for each rule of thumb that a network breaks on images of its size."""
    passes = _passes(backbone)
    rules = (_divides(passes, backbone.input_size[-1]), _keeps(passes), _pools(passes))
    return tuple(remark for rule in rules for remark in rule)


def _divides(passes: Sequence[_Pass], side: int) -> Iterator[str]:
    """A power of two goes through any number of strides of two; so does what is divisible by their product."""
    for one in passes:
        if one.before % one.stride and one.after > 1:
            yield (
                f"images of {side} pixels do not divide evenly: at {one.path} a side of {one.before} meets a stride of "
                f"{one.stride}; a power of two, or a multiple of the network's whole stride, would"
            )
            return


def _keeps(passes: Sequence[_Pass]) -> Iterator[str]:
    convolutions = [one for one in passes if isinstance(one.module, nn.Conv2d) and one.stride == 1 < one.window]
    shrinking = [one.path for one in convolutions if one.before != one.after]
    if shrinking:
        more = f" and {len(shrinking) - 1} more" if len(shrinking) > 1 else ""
        yield f"a convolution of stride 1 changes the size ({shrinking[0]}{more}): a border of zeros would keep it"


def _pools(passes: Sequence[_Pass]) -> Iterator[str]:
    large = [one for one in passes if not isinstance(one.module, nn.Conv2d) and one.window > 2 and one.after > 1]
    if large:
        windows = ", ".join(sorted({f"{one.window} x {one.window}" for one in large}))
        yield f"{len(large)} times it pools by {windows}: 2 x 2 is the rule of thumb, more is worse"


def _passes(backbone: Backbone) -> list[_Pass]:
    found: list[_Pass] = []

    def hook(path: str, module: Window) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, args, output: found.append(_Pass(path, module, args[0].shape[-1], output.shape[-1]))

    net = backbone.net
    with ExitStack() as stack, evaluation_mode(net), torch.no_grad():
        for path, module in net.named_modules():
            if isinstance(module, WINDOWS):
                stack.callback(module.register_forward_hook(hook(path, module)).remove)
        net(example_input(net, backbone.input_size))
    return found


def _side(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else max(size)
