"""Signs of the network itself and of the data in its predictions.

Source: Karpathy, "CS231n: Convolutional Neural Networks for Visual Recognition", 2015 (ratio of updates, dead units,
first-layer filters); slides, "Insights from figures" (noisy weights: regularization maybe not strong enough).

Shapes: B images, C channels, H and W pixels; F filters of I input channels and Y by X pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finetune_advisor.diagnosis.curves import Case, WeightFacts
from finetune_advisor.diagnosis.edits import GOOD_RATIO, change_body_rate, change_rate, regularize
from finetune_advisor.diagnosis.rate_signs import HIGH_UPDATES, LOW_UPDATES
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.diagnosis import Edit, Finding
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.strategy import Probe
from finetune_advisor.text import counted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finetune_advisor.inference.predictor import Predictor

NOISY = 0.28
"""Noise of a batch's loss, over the loss of chance, from which it hides the way down."""

SMALL_BATCH = 16
"""Batches from which on larger ones bring little."""

NEWLY_DEAD = 0.05
"""Share of units that died in this training from which it matters."""

ROUGHER = 1.5
"""Roughness of the first layer's filters over that of the pretrained ones from which they count as noisy."""

NOISE = 0.6
"""Roughness that only filters of noise have, where there are no pretrained ones to compare with."""


def noisy_loss(case: Case) -> Finding | None:
    """The loss jumps from batch to batch, and batches are small."""
    noise = case.curves.loss_noise
    optimizer = case.recipe.optimizer
    if noise is None or optimizer is None or optimizer.batch > SMALL_BATCH or noise < NOISY * case.chance_loss:
        return None
    larger = 4 * optimizer.batch
    why = f"{optimizer.batch} before: batches of four times the images have half the noise"
    return Finding(
        sign="noisy_loss",
        title="The loss is noisy: batches are small",
        evidence=f"from batch to batch it varies by {noise:.2g} around its trend, with {optimizer.batch} images each",
        meaning="Gradients of few images point anywhere. Larger batches are steadier.",
        figures={"loss_noise": noise, "batch": float(optimizer.batch)},
        edits=(Edit(key="optimizer.batch", value=larger, reason=why),),
    )


def large_updates(case: Case) -> Finding | None:
    """Steps that move pretrained weights by more than a hundredth."""
    return _updates(case, large=True)


def small_updates(case: Case) -> Finding | None:
    """Steps that move pretrained weights by less than a ten-thousandth at the highest rate."""
    return _updates(case, large=False)


def _updates(case: Case, *, large: bool) -> Finding | None:
    ratios = {group: ratio for group, ratio in case.curves.update_ratio.items() if group.startswith("body")}
    outside = {g: r for g, r in ratios.items() if (r > HIGH_UPDATES if large else r < LOW_UPDATES)}
    if not outside:
        return None
    group = (max if large else min)(outside, key=outside.__getitem__)
    factor, why = GOOD_RATIO / outside[group], f"a step over the weights should be about {GOOD_RATIO:g}"
    if large:
        # Layers that train well at the edge of the usual are not slowed down beyond it.
        factor = max(factor, 0.2)
    ratio = case.recipe.optimizer.body_lr_ratio if case.recipe.optimizer is not None else 1.0
    alone = large or ratio * factor <= 1
    edits = change_body_rate(case.recipe, factor, why) if alone else change_rate(case.recipe, factor, why)
    return Finding(
        sign="large_updates" if large else "small_updates",
        title=f"Steps are {'large' if large else 'small'} beside the weights they move",
        evidence=(
            f"{outside[group]:.2g} of the weights of {group} in a step; usual is {LOW_UPDATES:g} to {HIGH_UPDATES:g}"
        ),
        meaning=(
            "What was pretrained is overwritten: a lower rate of these layers keeps it."
            if large
            else "These layers hardly learn: give them a higher rate, or freeze them and save the time."
        ),
        figures={name: value for name, value in outside.items() if math.isfinite(value)},
        edits=edits,
    )


def dead_units(case: Case) -> Finding | None:
    """Units that are zero for every image now, and were not before."""
    weights = case.weights
    if weights is None or weights.dead is None or weights.dead_before is None:
        return None
    died = weights.dead - weights.dead_before
    if died < NEWLY_DEAD:
        return None
    edits = change_rate(case.recipe, 0.2, "units died: a step took them out of reach") if case.trains else ()
    return Finding(
        sign="dead_units",
        title="Units died in this training",
        evidence=(
            f"{100 * weights.dead:.0f} % are zero for each of {weights.images} images, "
            f"{100 * weights.dead_before:.0f} % were before"
        ),
        meaning="A unit that is zero for every image gets no gradient and never comes back. High rates do that.",
        figures={"dead": weights.dead, "dead_before": weights.dead_before},
        edits=edits,
    )


def noisy_filters(case: Case) -> Finding | None:
    """First-layer filters rougher than the pretrained ones, or as rough as noise where they started as noise."""
    weights = case.weights
    if weights is None or weights.roughness is None:
        return None
    pretrained = case.recipe.backbone.weights != "random"
    before = weights.roughness_before
    limit = ROUGHER * before if pretrained and before is not None else NOISE
    if weights.roughness < limit:
        return None
    beside = f"{before:.2f} before training" if pretrained and before is not None else "1 is pure noise"
    return Finding(
        sign="noisy_filters",
        title="Noisy filters in the first layer",
        evidence=f"their roughness is {weights.roughness:.2f}, {beside}",
        meaning="Filters of a well-trained first layer are smooth. Regularization may not be strong enough.",
        figures={"roughness": weights.roughness, **({"before": before} if before is not None else {})},
        edits=regularize(case.recipe, "noisy filters in the first layer"),
    )


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
    from finetune_advisor.inference.predictor import Predictor

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

    from finetune_advisor.loading.batches import eval_batches, normalize

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


FEWEST_IMAGES = 3
"""Validation images of a class from which it is odd that it is never named."""

MOST_SUSPECTS = 20
"""Images that are named."""


def never_predicted(case: Case) -> Finding | None:
    """Classes with validation images that the network never answers with."""
    if case.val is None:
        return None
    confusion_KK = np.array(case.val["confusion"])
    missed_K = (confusion_KK.sum(axis=0) == 0) & (confusion_KK.sum(axis=1) >= FEWEST_IMAGES)
    missed = [case.classes[index] for index in np.flatnonzero(missed_K)]
    if not missed:
        return None
    why = "classes that are never named count as much as the others"
    edits = []
    if case.recipe.data.class_weights is None:
        edits.append(Edit(key="data.class_weights", value="balanced", reason=why))
    if case.trains and case.recipe.evaluation.metric == "accuracy":
        edits.append(Edit(key="evaluation.metric", value="balanced_accuracy", reason=why))
    images = int(confusion_KK[missed_K].sum())
    return Finding(
        sign="never_predicted",
        title=f"{counted(len(missed), 'class is', 'classes are')} never predicted",
        evidence=f"none of {images:,} validation images of {'it' if len(missed) == 1 else 'them'} is recognized",
        meaning="Rare classes drown among common ones, or look like one of them. Weigh classes alike, or add images.",
        figures={"classes": float(len(missed)), "images": float(images)},
        names=tuple(missed),
        edits=tuple(edits),
    )


def label_suspects(case: Case) -> Finding | None:
    """Images whose labels classifiers that did not see them contradict; a person has to look."""
    if not case.suspects:
        return None
    return Finding(
        sign="label_suspects",
        title=f"{counted(len(case.suspects), 'label')} may be wrong",
        evidence="classifiers that did not see these images contradict their labels",
        meaning="Wrong labels teach wrong answers and make right ones count as wrong. Look before you change them.",
        figures={"images": float(len(case.suspects))},
        names=case.suspects[:MOST_SUSPECTS],
    )


def strength_at_the_edge(case: Case) -> Finding | None:
    """A probe that chose the smallest or the largest strength it was allowed to try."""
    strategy = case.recipe.strategy
    best = [record for record in case.records if record.chosen]
    if any(record.val_accuracy == 1 for record in best):
        return None  # nothing to gain
    chosen = [record.strength for record in best if record.strength is not None]
    if not isinstance(strategy, Probe) or not chosen or len(strategy.strengths) < 2:
        return None
    strengths = sorted(strategy.strengths)
    if strengths[0] < chosen[0] < strengths[-1]:
        return None
    low = chosen[0] == strengths[0]
    further = (strengths[0] / 10, strengths[0] / 3) if low else (strengths[-1] * 3, strengths[-1] * 10)
    value = sorted([*strengths, *(float(f"{strength:.0e}") for strength in further)])
    return Finding(
        sign="strength_at_the_edge",
        title="The best regularization may lie outside what was tried",
        evidence=f"the {'smallest' if low else 'largest'} strength, {chosen[0]:g}, was chosen",
        meaning="A wider range costs a second and may bring a better probe.",
        figures={"strength": chosen[0]},
        edits=(Edit(key="strategy.strengths", value=value, reason="the best was at the edge of the range"),),
    )
