"""Signs on the network itself: how far steps move it, how noisy its batches are, what its units and filters look like.

Source: Karpathy, "CS231n: Convolutional Neural Networks for Visual Recognition", 2015 (ratio of updates, dead units,
first-layer filters); slides, "Insights from figures" (noisy weights: regularization maybe not strong enough).
"""

from __future__ import annotations

import math

from finetune_advisor.artifacts.diagnosis import Edit, Finding
from finetune_advisor.diagnosis.case import Case
from finetune_advisor.diagnosis.edits import GOOD_RATIO, change_body_rate, change_rate, regularize
from finetune_advisor.diagnosis.rate_signs import HIGH_UPDATES, LOW_UPDATES

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
