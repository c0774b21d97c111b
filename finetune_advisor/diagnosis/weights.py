"""What is measured on a trained network beside the one it started from.

Shapes: B images, C channels, H and W pixels; F filters of I input channels and Y by X pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.diagnosis.case import WeightFacts

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finetune_advisor.inference import Predictor

MOST_IMAGES = 32
"""Images that a unit may answer to before it counts as dead."""


def measure_weights(run: RunDir, recipe: Recipe, images: Sequence[Path], *, device: str = "cpu") -> WeightFacts:
    """Roughness of the first layer, and dead units, of a finished run that trained layers.

    Raises:
        RunError: the run holds no model.
        BackboneError: the network it started from cannot be had.
    """
    import torch

    from finetune_advisor.backbones.build import build
    from finetune_advisor.inference import Predictor

    predictor = Predictor.open(run, device=device)
    size = predictor.preprocess.size
    before = build(recipe.backbone.name, recipe.backbone.weights, seed=recipe.seed, size=size).net.to(device)
    new, old = first_filters(predictor.net), first_filters(before)
    trained = new is not None and old is not None and not torch.equal(new, old)
    shown, (dead, dead_before) = _dead_in(predictor, before, images)
    return WeightFacts(
        roughness=filter_roughness(new) if trained and new is not None else None,
        roughness_before=filter_roughness(old) if trained and old is not None else None,
        dead=dead,
        dead_before=dead_before,
        images=shown,
    )


def first_filters(net: nn.Module) -> Tensor | None:
    """The filters (F, I, Y, X) of the first convolution that looks at more than single pixels; None without one."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, nn.Conv2d) and min(module.kernel_size) > 1:
            return module.weight.detach().cpu()
    return None


def filter_roughness(filters_FIYX: Tensor) -> float:
    """How much neighboring pixels of filters differ, over what they would in noise: smooth is near 0, noise 1.

    Source: von Neumann, "Distribution of the ratio of the mean square successive difference to the variance", 1941.
    """
    variance = filters_FIYX.var(dim=(2, 3)).sum()
    jumps = [filters_FIYX.diff(dim=axis).square().mean(dim=(2, 3)).sum() / 2 for axis in (2, 3)]
    return float((jumps[0] + jumps[1]) / 2 / variance) if variance > 0 else 0.0


def _dead_in(
    predictor: Predictor, before: nn.Module, images: Sequence[Path]
) -> tuple[int, tuple[float | None, float | None]]:
    """How many images could be shown, and the share of dead units of both networks."""
    import torch

    from finetune_advisor.data.batches import eval_batches, normalize

    preprocess = predictor.preprocess
    shown = 0
    nets = (predictor.net, before.eval())
    with alive_units(nets[0]) as now, alive_units(nets[1]) as then, torch.inference_mode():
        for index_B, x_BCHW, _ in eval_batches(list(images[:MOST_IMAGES]), preprocess, batch=MOST_IMAGES, workers=0):
            if len(index_B):
                for net in nets:
                    net(normalize(x_BCHW.to(predictor.device), preprocess))
                shown += len(index_B)
    return shown, (dead_share(now), dead_share(then))


@contextmanager
def alive_units(net: nn.Module) -> Iterator[dict[str, Tensor]]:
    """By the path of a rectifier: which of its channels were ever above zero while the block ran."""
    from torch import nn

    alive: dict[str, Tensor] = {}

    def watch(path: str, output: Tensor) -> None:
        above = (output > 0).flatten(2).any(dim=2) if output.ndim > 2 else output > 0
        above_C = above.any(dim=0).cpu()
        alive[path] = above_C | alive[path] if path in alive else above_C

    handles = [
        module.register_forward_hook(lambda _, __, output, path=path: watch(path, output))
        for path, module in net.named_modules()
        if isinstance(module, nn.ReLU | nn.ReLU6)
    ]
    try:
        yield alive
    finally:
        for handle in handles:
            handle.remove()


def dead_share(alive: dict[str, Tensor]) -> float | None:
    """Share of the channels that were never above zero; None where nothing was shown or nothing can die."""
    total = sum(alive_C.numel() for alive_C in alive.values())
    return 1 - sum(int(alive_C.sum()) for alive_C in alive.values()) / total if total else None
