"""A cost of what the classifier's inputs do on average over a whole batch, however the batch is divided.

The cost is no sum over images, but its gradient is one: with the slope of the cost at the batch's averages, each image
adds its readings times that slope. A first pass without gradients finds the averages, over all parts and processes.

Shapes: B images of a part, D features, P positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor import processes
from finetune_advisor.backbones.readings import read_inputs
from finetune_advisor.backbones.stages import output_layers, weighted_layers
from finetune_advisor.techniques.regularization import FeaturePenalty


@contextmanager
def readings(net: nn.Module, technique: FeaturePenalty) -> Iterator[Callable[[], Tensor]]:
    """While the block runs, a function gives the readings (B, D) of the last forward pass.

    Where the classifier is a convolution, the reading of a feature is its mean over the positions. Of a distilled
    network the inputs of both classifiers are read.
    """
    with read_inputs(net, output_layers(net), reduce=_positions_first) as inputs:
        yield lambda: torch.cat([technique.reading(x_BPD).mean(dim=1) for x_BPD in inputs.values()], dim=1)


def features_of(net: nn.Module) -> int:
    """How many are read: D."""
    layers = weighted_layers(net)
    return sum(layers[path].weight.shape[1] for path in output_layers(net))


def slope_at(technique: FeaturePenalty, sum_D: Tensor, images: int) -> Tensor:
    """How fast the cost rises with each feature's average: slope_D, the same in all processes.

    Args:
        technique: the cost.
        sum_D: the readings summed over this process's images.
        images: of the whole batch.
    """
    processes.add_up([sum_D])
    mean_D = (sum_D / images).requires_grad_()
    (slope_D,) = torch.autograd.grad(technique.penalty(mean_D), mean_D)
    return slope_D


@contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Passes inside leave the running statistics of BatchNorm as they are."""
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _positions_first(classifier_input: Tensor) -> Tensor:
    """As (B, P, D) in float32."""
    x = classifier_input.float()
    return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x.view(len(x), -1, x.shape[-1])
