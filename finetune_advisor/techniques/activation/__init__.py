"""Registry of `head.activation:` and `backbone.activation:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.activation.base import Activation
from finetune_advisor.techniques.activation.leaky_relu import LeakyRelu
from finetune_advisor.techniques.activation.maxout import Maxout
from finetune_advisor.techniques.activation.prelu import Prelu
from finetune_advisor.techniques.activation.relu import Relu
from finetune_advisor.techniques.activation.rrelu import Rrelu
from finetune_advisor.techniques.activation.sigmoid import Sigmoid
from finetune_advisor.techniques.activation.tanh import Tanh

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
