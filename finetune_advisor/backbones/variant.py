"""A timm network with other activations, or with a hidden layer before its classes.

Both change the network in place and keep the names of its other weights. timm has no shape for them, so `import
finetune_advisor` registers them.

Shapes: B batch, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter
from timm.layers import activations
from torch import Tensor, nn

from finetune_advisor.backbones.at_size import create_at_size
from finetune_advisor.backbones.stages import classifier_modules, example_input, layout_of, record_calls, within
from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.activation import Activation, AnyActivation, Prelu

VARIANT = "finetune_advisor_variant"
"""Name under which timm builds what `variant_net` does."""

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish),
    *(activations.Swish, activations.Mish, activations.HardSwish, activations.HardMish, activations.PReLU),
    *(activations.GELU, activations.GELUTanh, activations.QuickGELU),
)
"""What stands between layers; sigmoids are left alone, for they are the gates of attention."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a network differs from timm's: `hidden` units before the classes, and what is swapped in everywhere else."""

    activation: Activation | None = None
    hidden: int | None = None
    hidden_activation: Activation | None = None

    @property
    def plain(self) -> bool:
        """Whether it does not differ at all."""
        return self == Variant()

    def as_arguments(self) -> dict[str, Any]:
        """What `variant_net` takes, as JSON."""
        dumped = {"activation": self.activation, "hidden_activation": self.hidden_activation}
        return asdict(self) | {key: technique and technique.model_dump() for key, technique in dumped.items()}


def alter(net: nn.Module, variant: Variant, *, input_size: tuple[int, int, int], drop_rate: float = 0.0) -> None:
    """Change a network in place; new layers are filled from torch's random state.

    Args:
        net: with a classifier for the classes in hand.
        variant: what to change.
        input_size: channels, height and width of its images.
        drop_rate: of the dropout between the hidden layer and the classes.

    Raises:
        BackboneError: it has no activations that could be swapped, or no linear classifier.
    """
    if variant.activation is not None:
        _swap_activations(net, variant.activation, input_size)
    if variant.hidden is not None:
        assert variant.hidden_activation is not None, "checked by Recipe"
        for path in classifier_modules(net):
            _insert_hidden(net, path, variant.hidden, variant.hidden_activation, drop_rate)


def variant_net(
    *,
    backbone: str,
    size: int,
    num_classes: int,
    activation: Mapping[str, Any] | None = None,
    hidden: int | None = None,
    hidden_activation: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The altered network without its weights, from `Variant.as_arguments`; `size` is that of its images, in pixels."""
    net = create_at_size(backbone, size, num_classes=num_classes)
    variant = Variant(_technique(activation), hidden, _technique(hidden_activation))
    alter(net, variant, input_size=(3, size, size))
    return net


def _technique(values: Mapping[str, Any] | None) -> Activation | None:
    return None if values is None else TypeAdapter[Activation](AnyActivation).validate_python(values)


def _swap_activations(net: nn.Module, activation: Activation, input_size: tuple[int, int, int]) -> None:
    places = list(_activations(net))
    if not places:
        raise BackboneError(
            f"{type(net).__name__} has no activation modules that could be swapped",
            "Set backbone.activation to null, or choose another network.",
        )
    by_channel = isinstance(activation, Prelu) and not activation.shared
    channels = _channels(net, input_size) if by_channel else {}
    for path in places:
        parent, _, name = path.rpartition(".")
        old = net.get_submodule(path)
        new = activation.module(channels[id(old)] if by_channel else 1)
        setattr(net.get_submodule(parent), name, new.to(next(net.parameters()).device).train(old.training))


def _activations(net: nn.Module) -> Iterator[str]:
    classifier = classifier_modules(net)
    for path, module in net.named_modules(remove_duplicate=False):
        if isinstance(module, ACTIVATIONS) and not within(path, classifier):
            yield path


def _channels(net: nn.Module, input_size: tuple[int, int, int]) -> dict[int, int]:
    """How many channels go through each module, which must be the second axis, by the module's id."""
    found: dict[int, int] = {}
    for call in record_calls(net, example_input(net, input_size)):
        module = net.get_submodule(call.path)
        if not isinstance(module, ACTIVATIONS):
            continue
        assert isinstance(call.output, Tensor)
        channels = call.output.shape[1]
        if layout_of(call.output, net)[0] not in ("NCHW", "NC") or found.get(id(module), channels) != channels:
            raise BackboneError(
                f"{type(net).__name__} has an activation whose channels are not in one place: {call.path}",
                "One slope for all channels works everywhere: `backbone.activation: {kind: prelu, shared: true}`.",
            )
        found[id(module)] = channels
    return found


def _insert_hidden(net: nn.Module, path: str, units: int, activation: Activation, drop_rate: float) -> None:
    """Put a hidden layer in front of the classifier (D -> K), which becomes D -> units -> K."""
    parent, _, name = path.rpartition(".")
    old = net.get_submodule(path)
    if not isinstance(old, nn.Linear):
        raise BackboneError(
            f"a hidden layer stands before a linear classifier; that of {type(net).__name__} is a {type(old).__name__}",
            "Set head.hidden to null.",
        )
    layers = OrderedDict[str, nn.Module](
        hidden=nn.Linear(old.in_features, units * activation.inputs_per_unit),
        activation=activation.module(units),
        dropout=nn.Dropout(drop_rate),
        output=nn.Linear(units, old.out_features),
    )
    setattr(net.get_submodule(parent), name, nn.Sequential(layers).to(old.weight.device).train(old.training))
