"""The seam of activation: the module that stands between two layers.

Shapes: B images, C channels or units, `...` are the axes of positions, if any.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    from torch import nn


class Activation(Technique):
    """The non-linearity of the head's hidden layer, or of a whole network."""

    warning: ClassVar[str | None] = None
    """What a person is told who chooses it; None where there is nothing to say."""

    @property
    def inputs_per_unit(self) -> int:
        """Outputs of the layer below that each unit takes."""
        return 1

    @abstractmethod
    def module(self, channels: int) -> nn.Module:
        """From (B, inputs_per_unit * C, ...) to (B, C, ...), for so many channels C."""
