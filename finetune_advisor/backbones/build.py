"""From a name and a source of weights to a network that is ready to use, with everything known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from timm.layers.drop import DropPath
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import Tensor, nn

from finetune_advisor.backbones import bundled
from finetune_advisor.backbones.stages import Stage, classifier_modules, stages_of
from finetune_advisor.backbones.state_files import read_state
from finetune_advisor.backbones.variant import Variant, alter
from finetune_advisor.backbones.weights import Source, Weights, find_weights
from finetune_advisor.errors import BackboneError, WeightsError, did_you_mean

TIMMS = Variant()
"""A network as timm has it."""

_LINES_SHOWN = 6
_LINE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network with its weights, timm's configuration of it, and its stages.

    `config` is timm's pretrained configuration with the normalization of these weights (`mean`, `std`) and
    the `input_size` (channels, height, width) in use. `new_head` says that the classifier is not a trained
    one, `variant` how the network differs from timm's.
    """

    name: str
    weights: Weights
    net: nn.Module
    config: dict[str, Any]
    stages: tuple[Stage, ...]
    new_head: bool
    variant: Variant = field(default_factory=Variant)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width of the images the network is built for."""
        channels, height, width = self.config["input_size"]
        return channels, height, width

    def stage(self, name: str) -> Stage:
        """The stage of that name.

        Raises:
            BackboneError: there is none; the message lists those there are.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.stages]
        raise BackboneError(
            f"{self.name} has no stage {name!r}{did_you_mean(name, names)}", f"Its stages are {', '.join(names)}."
        )


def check_name(name: str) -> None:
    """Make sure that timm knows a network, given with or without the tag of its weights.

    Raises:
        BackboneError: it does not; the hint names the nearest that exist.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise BackboneError(
            f"timm has no network {name!r}{did_you_mean(architecture, timm.list_models())}",
            "`finetune-advisor backbones` lists those that can be used here without a network connection.",
        )
    tagged = timm.list_models(f"{architecture}.*", include_tags=True)
    if tag and name not in tagged:
        raise BackboneError(f"{architecture} has no weights tagged {tag!r}", f"Its weights are: {', '.join(tagged)}.")


def backbone_config(name: str, source: Source = "hub") -> dict[str, Any]:
    """timm's configuration of a network (mean, std, input_size, interpolation, ...), without building it.

    Bundled weights expect another normalization than timm's weights of the same network.

    Raises:
        BackboneError: the network is unknown.
    """
    check_name(name)
    config: dict[str, Any] = _registered(name).to_dict()
    return config | _normalization(source)


def build(
    name: str,
    weights: str,
    *,
    classes: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    seed: int = 0,
    size: int | None = None,
    variant: Variant = TIMMS,
) -> Backbone:
    """Build a timm network with its weights, in evaluation mode, on the CPU.

    `weights` is "bundled", "hub", "random" or the path of a file. With `classes`, the classifier is a new one
    for so many classes, initialized from `seed` (as are random weights; no global random state is touched).
    `drop_rate` is the dropout before the classifier, `drop_path_rate` the share of images that skip the last
    residual branch in training, `size` the width and height of the images in pixels,
    timm's choice where None, `variant` how the network is to differ from timm's.

    Raises:
        BackboneError: the name is unknown, the network does not take images of that size, or it has no residual
            branches to skip.
        WeightsError: the weights cannot be had here, or do not fit.
    """
    check_name(name)
    found = find_weights(name, weights, seed=seed)
    state = _read(found)
    overlay = _normalization(found.source)
    if state is not None:
        overlay |= {"state_dict": state, "custom_load": False}
    if found.source == "file":
        overlay |= {"label_offset": None} | _class_count(state or {}, name)
    arguments = _arguments(name, drop_rate=drop_rate, drop_path_rate=drop_path_rate, size=size)

    def create() -> Backbone:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = _create(name, found, pretrained_cfg_overlay=overlay, **arguments)
            if classes is not None:
                net.reset_classifier(classes)  # type: ignore[operator]
            config = _config_of(net, size)
            alter(net, variant, input_size=config["input_size"], drop_rate=drop_rate)
        if drop_path_rate:
            _require_branches(name, net)
        new_head = classes is not None or state is None
        return Backbone(name, found, net.eval(), config, stages_of(net, config["input_size"]), new_head, variant)

    return create() if size is None else _at_size(create, name, size)


def set_classifier(net: nn.Module, weight_KD: Tensor, bias_K: Tensor) -> None:
    """Write a linear classifier, K classes over D features, into a network whose own has that shape."""
    for path in classifier_modules(net):
        layer = net.get_submodule(path)
        assert isinstance(layer, (nn.Linear, nn.Conv2d)), f"the classifier is a {type(layer).__name__}"
        assert layer.bias is not None, "the classifier has no bias"
        with torch.no_grad():
            layer.weight.copy_(weight_KD.reshape(layer.weight.shape))
            layer.bias.copy_(bias_K)


def _registered(name: str) -> PretrainedCfg:
    config = get_pretrained_cfg(name)
    assert config is not None, f"{name} was not checked"
    return config


def _read(weights: Weights) -> dict[str, Tensor] | None:
    if weights.source == "bundled":
        return bundled.load(weights.name.partition(".")[0])
    return None if weights.path is None else read_state(weights.path)


def _normalization(source: Source) -> dict[str, Any]:
    if source != "bundled":
        return {}
    return {"mean": bundled.MEAN, "std": bundled.STD, "license": bundled.LICENSE}


def _class_count(state: dict[str, Tensor], name: str) -> dict[str, Any]:
    """A file keeps the classifier it has, for however many classes."""
    classifier = _registered(name).classifier
    first = classifier if isinstance(classifier, str) else next(iter(classifier or ("",)))
    weight = f"{first}.weight"
    return {"num_classes": len(state[weight])} if weight in state else {}


def _arguments(name: str, *, drop_rate: float, drop_path_rate: float, size: int | None) -> dict[str, Any]:
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    arguments: dict[str, Any] = {key: rate for key, rate in rates.items() if rate}
    if size is not None and _registered(name).fixed_input_size:
        arguments["img_size"] = size
    return arguments


def _create(name: str, weights: Weights, **arguments: Any) -> nn.Module:
    try:
        net: nn.Module = timm.create_model(name, pretrained=weights.source != "random", **arguments)
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise _no_branches(name) from error
        raise
    except (RuntimeError, KeyError) as error:
        if weights.source == "random" or not _is_about_weights(error):
            raise
        raise WeightsError(
            f"the weights in {weights.path} are not those of {name}:\n{_shortened(str(error))}",
            "Choose the network that these weights were trained with (backbone.name).",
        ) from error
    net.pretrained_cfg.pop("state_dict", None)  # type: ignore[union-attr, operator]
    return net


def _require_branches(name: str, net: nn.Module) -> None:
    if not any(isinstance(module, DropPath) and module.drop_prob for module in net.modules()):
        raise _no_branches(name)


def _no_branches(name: str) -> BackboneError:
    return BackboneError(
        f"{name} has no residual branches that could be skipped: stochastic depth would do nothing",
        "Leave stochastic_depth out of `regularization`, or choose a network with residual branches.",
    )


def _is_about_weights(error: Exception) -> bool:
    # timm's converters of foreign state dicts look up names; its checks start with "Pretrained".
    return isinstance(error, KeyError) or "state_dict" in str(error) or str(error).startswith("Pretrained")


def _config_of(net: nn.Module, size: int | None) -> dict[str, Any]:
    config: dict[str, Any] = dict(net.pretrained_cfg)  # type: ignore[arg-type]
    if size is not None:
        config["input_size"] = (config["input_size"][0], size, size)
    return config


def _at_size(create: Callable[[], Backbone], name: str, size: int) -> Backbone:
    try:
        return create()
    except (RuntimeError, ValueError, AssertionError) as error:
        usual = _registered(name).input_size[-1]
        reason = str(error).partition("\n")[0]
        raise BackboneError(
            f"{name} does not take images of {size} x {size} pixels: {reason}",
            f"It is made for {usual} x {usual}; multiples of 32 usually work (preprocessing.size).",
        ) from error


def _shortened(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    shown = [line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]} ..." for line in lines[:_LINES_SHOWN]]
    rest = len(lines) - len(shown)
    return "\n".join(f"  {line}" for line in [*shown, *([f"and {rest} more"] if rest else [])])
