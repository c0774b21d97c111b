"""`head.activation:` and `backbone.activation:`, the function that stands between two layers.

Shapes: B images, C channels or units, `...` are the axes of positions, if any.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

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


class Relu(Activation):
    """Let what is positive pass, and nothing else.

    The choice where nothing speaks against it; a unit that is never positive stops learning.
    """

    source: ClassVar[str] = "slides: activation functions (use ReLU; be careful with your learning rates)"
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden layer."
    )

    kind: Literal["relu"] = "relu"

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """max(0, x)."""
        from torch import nn

        return nn.ReLU()


class LeakyRelu(Activation):
    """Let what is positive pass, and a fixed small part of what is negative.

    Where units die, and on small data, where the slides found 1 / 5.5 clearly better than ReLU.
    """

    source: ClassVar[str] = (
        "slides: activation functions (Leaky ReLU), performances of ReLUs (a = 100, a = 5.5); "
        "Xu et al. 2015, Empirical Evaluation of Rectified Activations (arXiv:1505.00853)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides' comparison was not repeated."
    )

    kind: Literal["leaky_relu"] = "leaky_relu"
    a: Annotated[float, Field(ge=1)] = 5.5
    """Negative numbers are divided by this."""

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """x where it is positive, x / a elsewhere."""
        from torch import nn

        return nn.LeakyReLU(1 / self.a)


class Prelu(Activation):
    """Let what is positive pass, and a learned part of what is negative.

    The slopes take no weight decay, which would pull them toward ReLU; `optimizer: sgd` updates them as the slides say:
    by a step along the momentum of their gradient, summed over the channel's positions.
    """

    source: ClassVar[str] = (
        "slides: parametric ReLU, results of He's paper; "
        "He et al. 2015, Delving Deep into Rectifiers (arXiv:1502.01852)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides' comparison was not repeated."
    )

    kind: Literal["prelu"] = "prelu"
    shared: bool = False
    """true: one slope for all channels of a layer; false: one a channel."""
    start: float = 0.25
    """Every slope before training."""

    def module(self, channels: int) -> nn.Module:
        """x where it is positive, slope * x elsewhere."""
        from torch import nn

        return nn.PReLU(1 if self.shared else channels, init=self.start)


class Rrelu(Activation):
    """Let what is positive pass, and in training a random part of what is negative.

    For small data: the slides found that the noise keeps it from overfitting.
    """

    source: ClassVar[str] = (
        "slides: randomized ReLU (a ~ 1 / U(l, u), in test 2 / (l + u)); "
        "Xu et al. 2015, Empirical Evaluation of Rectified Activations (arXiv:1505.00853)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides' comparison was not repeated."
    )

    kind: Literal["rrelu"] = "rrelu"
    lower: Annotated[float, Field(ge=1)] = 3.0
    """In training negative numbers are divided by at least this ..."""
    upper: Annotated[float, Field(ge=1)] = 8.0
    """... and at most this; in test by the mean of both."""

    @model_validator(mode="after")
    def _ordered(self) -> Rrelu:
        if self.lower > self.upper:
            raise ValueError(f"expected `lower` of at most `upper`, found {self.lower:g} and {self.upper:g}")
        return self

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """x where it is positive, x / a elsewhere; a is drawn for every element."""
        from finetune_advisor.techniques.activation_modules import RandomizedLeakyReLU

        return RandomizedLeakyReLU(self.lower, self.upper)


class Maxout(Activation):
    """Take the largest of several linear functions, which doubles the parameters of the layer, or more.

    With dropout and enough data, where twice the parameters can be paid for.
    """

    source: ClassVar[str] = "slides: maxout neuron (max(w1 x + b1, w2 x + b2)); Goodfellow et al. 2013, Maxout Networks"
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; what it brings was not measured."
    )

    kind: Literal["maxout"] = "maxout"
    pieces: Annotated[int, Field(ge=2)] = 2
    """Linear functions a unit chooses from."""

    @property
    def inputs_per_unit(self) -> int:
        """Each linear function is an output of the layer below."""
        return self.pieces

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """The maximum over groups of `pieces` neighboring inputs."""
        from finetune_advisor.techniques.activation_modules import Maxout

        return Maxout(self.pieces)


class Sigmoid(Activation):
    """Squash numbers between 0 and 1; kept for comparison, for the slides say: never use it.

    Its outputs are not centered and its gradients die where it saturates.
    """

    source: ClassVar[str] = (
        "slides: activation functions (2 big problems: saturated neurons kill the gradients, "
        "outputs are not zero-centered)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides say never to use it."
    )
    warning: ClassVar[str | None] = (
        "sigmoid saturates, which kills the gradients, and its outputs are not zero-centered; relu learns faster"
    )

    kind: Literal["sigmoid"] = "sigmoid"

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """1 / (1 + exp(-x))."""
        from torch import nn

        return nn.Sigmoid()


class Tanh(Activation):
    """Squash numbers between -1 and 1, centered at zero; saturated units pass no gradient.

    Of use for a small head; the slides: try it, but do not expect much.
    """

    source: ClassVar[str] = "slides: activation functions (try out tanh but don't expect much)"
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides expect little of it."
    )

    kind: Literal["tanh"] = "tanh"

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """tanh(x)."""
        from torch import nn

        return nn.Tanh()


AnyActivation: TypeAlias = Annotated[
    Sigmoid | Tanh | Relu | LeakyRelu | Prelu | Rrelu | Maxout, Field(discriminator="kind")
]

__all__ = [
    "Activation",
    "AnyActivation",
    "LeakyRelu",
    "Maxout",
    "Prelu",
    "Relu",
    "Rrelu",
    "Sigmoid",
    "Tanh",
]
