"""One definition of depth for every backbone: the stem, the stages, the head; and features read at the stages' ends.

A stage is a group of timm's `group_matcher(coarse=True)`, which covers every parameter of CNNs, transformers
and hybrids. Its feature is what its last module returns.

Shapes: B batch, C channels, H height, W width, N positions, D pooled features.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor.errors import BackboneError


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a submodule: `entered` and `left` count events of the forward pass.

    `output` has the structure of what was returned, with meta tensors (shape and dtype, no content).
    `changed` says that the returned tensor was modified in place by what came after.
    """

    path: str
    entered: int
    left: int
    output: Any
    changed: bool


def record_calls(net: nn.Module, x_BCHW: Tensor) -> tuple[Call, ...]:
    """Run `net` once in evaluation mode, without gradients; the calls of its submodules as they ended."""
    clock = itertools.count()
    entered: list[int] = []
    left: list[tuple[str, int, int, Any, int]] = []

    def before(_module: nn.Module, _args: Any) -> None:
        entered.append(next(clock))

    def after(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            left.append((path, entered.pop(), next(clock), output, _version(output)))

        return hook

    with ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                stack.callback(module.register_forward_pre_hook(before).remove)
                stack.callback(module.register_forward_hook(after(path)).remove)
        with evaluation_mode(net), torch.no_grad():
            net(x_BCHW)
    return tuple(
        Call(path, start, end, map_tensors(_meta, output), changed=_version(output) != version)
        for path, start, end, output, version in left
    )


def example_input(net: nn.Module, input_size: tuple[int, int, int]) -> Tensor:
    """A batch of one reproducible noise image (1, C, H, W) on the device and in the dtype of the net."""
    parameter = next(net.parameters())
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, *input_size, generator=generator).to(parameter)


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Switch the whole net to evaluation mode, and each module back to the mode it was in."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply `function` to every tensor in nested tuples, lists and dicts; leave everything else as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    return value


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _version(output: Any) -> int:
    return output._version if isinstance(output, Tensor) else 0


STEM = "stem"
HEAD = "head"

Layout = Literal["NCHW", "NHWC", "NLC", "NC"]
"""How a stage's output is laid out: channels first, channels last, tokens, or one vector an image."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A depth of the network: its parameters, the modules that hold them, and where its feature is read.

    `modules` are the largest submodules that belong to this stage as a whole. `end` is the module whose
    output is the stage's feature, laid out as `layout`, with `prefix_tokens` tokens in front that are no
    image patches. `norm` is the BatchNorm called last in the stage, None where it has none.
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]
    end: str
    layout: Layout
    prefix_tokens: int
    norm: str | None


def stages_of(net: nn.Module, input_size: tuple[int, int, int]) -> tuple[Stage, ...]:
    """Divide a timm network into stages, in the order of its depth; every parameter is in exactly one.

    Names are "stem" for the first, "head" for the group of the classifier, else the dotted name in the
    network ("blocks.3", "layer2"). One image of `input_size` (channels, height, width) goes through the net.

    Raises:
        BackboneError: timm does not say how this network is divided.
    """
    groups = _parameter_groups(net)
    owner = {parameter: index for index, group in enumerate(groups) for parameter in group}
    calls = record_calls(net, example_input(net, input_size))
    names = _names(groups, classifier_parameters(net))
    modules = _largest_modules(net, owner, len(groups))
    stages = []
    for index, (name, group) in enumerate(zip(names, groups, strict=True)):
        own = [call for call in calls if within(call.path, modules[index])]
        if not own:
            raise BackboneError(f"no module of the stage {name} is called: {type(net).__name__} cannot be divided")
        last = max(own, key=lambda call: call.left)
        following = names[index + 1] if index + 1 < len(names) else HEAD
        end = last if following == HEAD else _with_trailing(last, calls, net)
        layout, prefix_tokens = layout_of(end.output, net)
        stages.append(
            Stage(
                name=name,
                parameters=tuple(group),
                modules=modules[index],
                end=end.path,
                layout=layout,
                prefix_tokens=prefix_tokens,
                norm=_last_norm(own, net),
            )
        )
    return tuple(stages)


def begins_with_convolutions(stages: Sequence[Stage]) -> bool:
    """Whether the network begins with convolutions; plain transformers begin with tokens."""
    return stages[0].layout == "NCHW"


def classifier_parameters(net: nn.Module) -> frozenset[str]:
    """Names of the parameters of the classifier, those that are new when the classes are new."""
    modules = classifier_modules(net)
    return frozenset(name for name, _ in net.named_parameters() if within(name, modules))


def classifier_modules(net: nn.Module) -> tuple[str, ...]:
    """Paths of the classifier's modules: one, or several in distilled networks."""
    classifier = net.default_cfg["classifier"]  # type: ignore[index]
    if classifier is None:
        raise BackboneError(f"timm does not say which layer of {type(net).__name__} is the classifier")
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)


def output_layers(net: nn.Module) -> tuple[str, ...]:
    """Paths of the layers whose outputs are logits: the classifier's last layers."""
    return tuple(_last_layer(path, net.get_submodule(path)) for path in classifier_modules(net))


def _last_layer(path: str, module: nn.Module) -> str:
    return f"{path}.{list(weighted_layers(module))[-1]}".rstrip(".")


def weighted_layers(module: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Linear layers and convolutions, by their path in the module; the module itself has the path ""."""
    return {path: layer for path, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}


def _parameter_groups(net: nn.Module) -> list[list[str]]:
    if not hasattr(net, "group_matcher"):
        raise BackboneError(f"timm does not say how {type(net).__name__} is divided into stages")
    groups = group_parameters(net, net.group_matcher(coarse=True))  # type: ignore[operator]
    return _with_slopes_in_place(net, [groups[index] for index in sorted(groups)])


def _with_slopes_in_place(net: nn.Module, groups: list[list[str]]) -> list[list[str]]:
    """Slopes of activations that were swapped in belong to what they follow: timm's patterns do not know them."""
    slopes = {f"{path}.weight" for path, module in net.named_modules() if isinstance(module, nn.PReLU)}
    owner = {name: index for index, group in enumerate(groups) for name in group if name not in slopes}
    kept = [[name for name in group if name not in slopes] for group in groups]
    previous = 0
    for name, _ in net.named_parameters():
        previous = owner.get(name, previous)
        if name in slopes:
            kept[previous].append(name)
    return [group for group in kept if group]


def _names(groups: list[list[str]], classifier: frozenset[str]) -> list[str]:
    names = [_prefix(group, groups) for group in groups]
    last = groups[-1]
    if classifier & set(last) or not any(character.isdigit() for character in names[-1]):
        names[-1] = HEAD
    names[0] = STEM
    return names


def _prefix(group: list[str], groups: list[list[str]]) -> str:
    """Shortest dotted prefix of the first parameter that no other group shares, with a number if possible."""
    parts = group[0].split(".")
    others = [name for other in groups if other is not group for name in other]
    unique = [
        prefix
        for prefix in (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        if not any(within(name, (prefix,)) for name in others)
    ]
    counting = [prefix for prefix in unique if any(character.isdigit() for character in prefix)]
    module_prefixes = [prefix for prefix in counting if prefix != group[0]]
    return (module_prefixes or unique)[0]


def _largest_modules(net: nn.Module, owner: dict[str, int], count: int) -> list[tuple[str, ...]]:
    found: list[list[str]] = [[] for _ in range(count)]

    def visit(path: str, module: nn.Module) -> None:
        names = (f"{path}.{name}" if path else name for name, _ in module.named_parameters())
        stages = {owner[name] for name in names if name in owner}
        if path and len(stages) == 1:
            found[stages.pop()].append(path)
        elif stages:
            for child, submodule in module.named_children():
                visit(f"{path}.{child}" if path else child, submodule)

    visit("", net)
    return [tuple(paths) for paths in found]


def _with_trailing(last: Call, calls: tuple[Call, ...], net: nn.Module) -> Call:
    """Move a stage's end behind the activation, pooling or dropout that follows, up to the next weights.

    So the feature is what the next stage gets, and no in-place activation changes it afterwards.
    """
    with_weights = [
        call.entered
        for call in calls
        if call.entered > last.left and any(True for _ in net.get_submodule(call.path).parameters())
    ]
    limit = min(with_weights, default=last.left)
    paths = [call.path for call in calls]
    trailing = [
        call
        for call in calls
        if last.left < call.entered and call.left < limit and paths.count(call.path) == 1 and _alike(call, last)
    ]
    return max(trailing, key=lambda call: call.left, default=last)


def _alike(call: Call, last: Call) -> bool:
    """Whether a trailing call carries the same kind of feature: as many axes, as many channels."""
    if not isinstance(call.output, Tensor) or call.output.ndim != last.output.ndim:
        return False
    channel_axes = {4: (1, 3), 3: (2,), 2: (1,)}[last.output.ndim]
    return any(call.output.shape[axis] == last.output.shape[axis] for axis in channel_axes)


def layout_of(output: Any, net: nn.Module) -> tuple[Layout, int]:
    """Layout and number of prefix tokens of what a module returns, read off the output for one square image.

    Of three axes, the two equal ones are height and width; where that is not clear, timm's declaration
    decides.
    """
    assert isinstance(output, Tensor), f"a stage ends in {type(output).__name__}, expected a tensor"
    if output.ndim == 2:
        return "NC", 0
    if output.ndim == 3:
        return "NLC", _prefix_tokens(output.shape[1], getattr(net, "num_prefix_tokens", 0))
    _, first, middle, last = output.shape
    if middle == last != first:
        return "NCHW", 0
    if first == middle != last:
        return "NHWC", 0
    return ("NHWC" if getattr(net, "output_fmt", "NCHW") == "NHWC" else "NCHW"), 0


def _prefix_tokens(tokens: int, declared: int) -> int:
    patches = tokens - declared
    return declared if patches > 0 and isqrt(patches) ** 2 == patches else 0


def _last_norm(own: list[Call], net: nn.Module) -> str | None:
    norms = [
        call
        for call in own
        if isinstance(net.get_submodule(call.path), _BatchNorm)
        and isinstance(call.output, Tensor)
        and call.output.ndim == 4
    ]
    return max(norms, key=lambda call: call.left).path if norms else None


def within(path: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module or parameter is one of these modules or inside one."""
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)


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
