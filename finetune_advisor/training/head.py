"""What the new classifier starts from, which is known once it is settled which images train."""

from __future__ import annotations

import logging

import numpy as np
import torch

from finetune_advisor import logistic
from finetune_advisor.backbones.stage_probe import POOLED
from finetune_advisor.backbones.stages import classifier_modules, weighted_layers
from finetune_advisor.dataset import Dataset
from finetune_advisor.errors import DataError
from finetune_advisor.techniques.initialization import Fitted, Probe
from finetune_advisor.training.class_weights import balanced
from finetune_advisor.training.prepare import Prepared

log = logging.getLogger(__name__)


def fill_head(prepared: Prepared, *, device: str) -> None:
    """Fill the network's new classifier as the recipe says, the same bits every time.

    A distilled network averages two classifiers, and both start alike where nothing is random. A hidden layer is filled
    like the classes above it.
    """
    recipe, net = prepared.recipe, prepared.backbone.net
    assert recipe.head is not None, "checked by Recipe"
    initialization = recipe.head.initialization
    fitted = None
    if isinstance(initialization, Probe):
        weighted = recipe.data.class_weights == "balanced"
        fitted = fit_head(initialization, prepared.data, class_weights=weighted, seed=recipe.seed, device=device)
    generator = torch.Generator().manual_seed(recipe.seed)
    for path in classifier_modules(net):
        for layer in weighted_layers(net.get_submodule(path)).values():
            assert layer.bias is not None, f"{path} has no bias"
            initialization.fill(layer.weight, layer.bias, generator, fitted=fitted)
    activation = recipe.head.activation
    if activation is not None and activation.warning is not None:
        log.warning("head.activation: %s", activation.warning)


def fit_head(probe: Probe, data: Dataset, *, class_weights: bool, seed: int, device: str) -> Fitted:
    """Fit the linear probe that a head starts from, on training images alone: validation has to stay unseen.

    The strength is chosen on folds that keep relatives together, as for the linear probe.

    Raises:
        DataError: all training images are relatives of each other.
    """
    train_N = data.index("train")
    if len(np.unique(data.family_N[train_N])) < 2:
        raise DataError(
            f"The {len(train_N)} training images in {data.listing.source} are relatives of each other, by their "
            "group or as copies, which leaves nothing to choose the strength of the head's probe on.",
            "Add images of a second group, or let the head start from zeros: head.initialization.kind: zeros.",
        )
    labels_N, classes = data.labels(train_N), len(data.classes)
    x_ND = data.features[0].rows(train_N).stage(POOLED)
    weight_N = balanced(labels_N, classes)[labels_N] if class_weights else None
    searched = logistic.cross_validate(
        x_ND,
        labels_N,
        data.folds(train_N, folds=probe.folds, seed=seed),
        strengths=probe.strengths,
        classes=classes,
        weight_N=weight_N,
        device=device,
    )
    best = searched.best()
    strength, accuracy = searched.strengths[best], searched.accuracies()[best]
    log.info("the head starts from a probe of strength %g: accuracy %.3f out of fold", strength, accuracy)
    found = logistic.fit(x_ND, labels_N, strength=strength, classes=classes, weight_N=weight_N, device=device)
    return Fitted(torch.tensor(found.weight_KD, dtype=torch.float32), torch.tensor(found.bias_K, dtype=torch.float32))
