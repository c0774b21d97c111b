"""Activations that torch does not have.

Shapes: B images, C channels or units, `...` are the axes of positions, if any.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RandomizedLeakyReLU(nn.Module):
    """Below zero x / a, with a ~ U(lower, upper) for every element in training, else the mean of lower and upper.

    `torch.nn.RReLU` draws the slope itself from an interval, which is another distribution of it.
    """

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape; random numbers come from torch's generator of the tensor's device."""
        mean = (self.lower + self.upper) / 2
        a = torch.empty_like(x).uniform_(self.lower, self.upper) if self.training else mean
        return torch.where(x > 0, x, x / a)

    def extra_repr(self) -> str:
        """The interval of a."""
        return f"lower={self.lower}, upper={self.upper}"


class Maxout(nn.Module):
    """The largest of `pieces` outputs of the layer below, for each unit."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """From (B, pieces * C, ...) to (B, C, ...)."""
        # Not len(x), which an exported graph keeps as a number.
        return x.view(x.shape[0], -1, self.pieces, *x.shape[2:]).amax(dim=2)

    def extra_repr(self) -> str:
        """How many."""
        return f"pieces={self.pieces}"
