"""The mean of the weights of several networks of one architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.export import load_model
from finetune_advisor.errors import RunError


def soup_of(folders: Sequence[Path]) -> nn.Module:
    """One network with the mean of the weights of models that `save_model` wrote.

    Statistics of BatchNorm are averaged like weights: right where they are frozen, near it where they follow the data.

    Raises:
        RunError: a model is missing or damaged, or is of another architecture than the first.
    """
    net, config = load_model(folders[0])
    states = [net.state_dict()]
    for folder in folders[1:]:
        other, its = load_model(folder)
        for key in ("architecture", "model_args", "num_classes"):
            if its[key] != config[key]:
                raise RunError(
                    f"{folders[0]} and {folder} are different networks: {key} is {config[key]!r} and {its[key]!r}.",
                    "Weights are only averaged between runs of one recipe; average the answers instead: --kind seeds.",
                )
        states.append(other.state_dict())
    net.load_state_dict({name: _mean([state[name] for state in states]) for name in states[0]})
    return net.eval()


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
