"""What a run leaves behind: the model, the metrics, the predictions.

Shapes: N images, B of them together, C channels, H and W pixels, D features, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from finetune_advisor.backbones.build import set_classifier
from finetune_advisor.backbones.export import described, save_model
from finetune_advisor.backbones.stages import classifier_modules
from finetune_advisor.backbones.variant import VARIANT
from finetune_advisor.backbones.wrappers import whitened
from finetune_advisor.backbones.wrappers.stage_probe import ARCHITECTURE, POOLED, stage_probe_of
from finetune_advisor.backbones.wrappers.whitened import Whitened, Whitening
from finetune_advisor.dataset import TRAINABLE, Dataset
from finetune_advisor.images.training_images import save_training_images
from finetune_advisor.loading.batches import eval_batches, normalize
from finetune_advisor.metrics import leak_scores, score, softmax
from finetune_advisor.records.predictions import Answers, save_answers, save_predictions
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.storage.files import save_json
from finetune_advisor.training.prepare import Prepared
from finetune_advisor.training.probe import FittedProbe
from finetune_advisor.training.watch import Spent

FloatArray = npt.NDArray[np.floating]

log = logging.getLogger(__name__)

IMAGES_COMPARED = 4

TOLERANCE = 1e-3
"""Largest difference between a probability of the exported network and one from cached features."""

TOLERANCE_ON_GPU = 5e-2
"""The same where a GPU computed the features, from numbers of eight bits; the exported network computes in float32."""


@dataclass(frozen=True)
class Scored:
    """Images of one split with the model's answers."""

    index_N: npt.NDArray[np.intp]
    probabilities_NK: FloatArray


def save_network(run: RunDir, prepared: Prepared, whitening: Whitening | None) -> None:
    """Write `model/` for a network whose layers were trained, with the whitening of its images in front of it."""
    net, (name, arguments) = prepared.backbone.net, _architecture(prepared)
    if whitening is not None:
        net, size = Whitened(whitening, net), prepared.preprocess.size
        name, arguments = whitened.ARCHITECTURE, {"backbone": name, "backbone_args": arguments, "size": size}
    _save(run, net, prepared, architecture=name, model_args=arguments)


def _architecture(prepared: Prepared) -> tuple[str, dict[str, Any]]:
    """The name under which timm builds the network, and what it takes."""
    backbone = prepared.backbone
    name, size = backbone.name.partition(".")[0], backbone.input_size[-1]
    if backbone.variant.plain:
        return name, {}
    return VARIANT, {"backbone": name, "size": size, **backbone.variant.as_arguments()}


def save_probe(run: RunDir, probe: FittedProbe, prepared: Prepared, *, device: str) -> None:
    """Write `model/` for a fitted probe: a plain timm network where its classifier sees the pooled features.

    Before that, some images go through the network, which has to say of them what the probe says of their features.
    """
    backbone = prepared.backbone
    weight_KD = torch.tensor(probe.classifier.weight_KD, dtype=torch.float32)
    bias_K = torch.tensor(probe.classifier.bias_K, dtype=torch.float32)
    stages = probe.stages
    if stages is None and len(classifier_modules(backbone.net)) > 1:
        # A distilled network averages two classifiers of different tokens; one linear layer can be neither.
        stages = (POOLED,)
    if stages is None:
        set_classifier(backbone.net, weight_KD, bias_K)
        _require_as_scored(backbone.net, probe, prepared, device)
        _save(run, backbone.net, prepared, architecture=backbone.name, model_args=None)
    else:
        net = stage_probe_of(backbone, stages, weight_KD, bias_K)
        _require_as_scored(net, probe, prepared, device)
        _save(run, net, prepared, architecture=ARCHITECTURE, model_args=net.model_args)


def _require_as_scored(net: nn.Module, probe: FittedProbe, prepared: Prepared, device: str) -> None:
    """Compare the probabilities of a few images, of all those the probe was fitted on, that are still there."""
    data, preprocess = prepared.data, prepared.preprocess
    some_N = np.unique(np.linspace(0, len(probe.val_index_N) - 1, IMAGES_COMPARED).astype(np.intp))
    index_N = probe.val_index_N[some_N]
    paths = [sample.path for sample in data.samples(index_N)]
    net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    worst = 0.0
    for readable_B, x_BCHW, _ in eval_batches(paths, preprocess, batch=1, workers=0):
        if not len(readable_B):
            continue
        with torch.inference_mode():
            logits_BK = net(normalize(x_BCHW.to(device), preprocess)).float().cpu().numpy()
        scored_BK = probe.probabilities(data.features[0].rows(index_N[readable_B]))
        difference = float(np.abs(softmax(logits_BK) - scored_BK).max())
        tolerance = TOLERANCE_ON_GPU if torch.device(device).type == "cuda" else TOLERANCE
        worst = max(worst, difference)
        if not difference <= tolerance:
            raise AssertionError(
                f"The exported {prepared.recipe.backbone.name} is not what was scored: of "
                f"{paths[int(readable_B[0])]} a probability differs by {difference:.3g}, expected at most {tolerance}."
            )
    log.info("the network says what was scored: probabilities of some images differ by at most %.2g", worst)


def _save(
    run: RunDir,
    net: nn.Module,
    prepared: Prepared,
    *,
    architecture: str,
    model_args: dict[str, Any] | None,
) -> None:
    recipe, preprocess = prepared.recipe, prepared.preprocess
    save_model(
        net,
        run.model,
        architecture=architecture,
        classes=prepared.data.classes,
        preprocessing=described(preprocess),
        details={
            "preprocessing": asdict(preprocess),
            "backbone": recipe.backbone.model_dump(),
            "strategy": recipe.strategy.kind,
            "recipe": recipe.name,
        },
        model_args=model_args,
    )


def save_results(run: RunDir, prepared: Prepared, *, val: Scored, test: Scored | None, spent: Spent) -> None:
    """Write predictions.csv and held_out.csv, then metrics.json, whose presence says that the run is finished."""
    recipe, data = prepared.recipe, prepared.data
    shown = test if test is not None else val
    names = [sample.name for sample in data.samples(shown.index_N)]
    save_predictions(run.predictions, data.classes, names, data.labels(shown.index_N), shown.probabilities_NK)
    val_names = [sample.name for sample in data.samples(val.index_N)]
    save_answers(run.held_out, Answers(tuple(val_names), data.classes, data.labels(val.index_N), val.probabilities_NK))
    # Folds keep groups together, so nothing leaks into validation.
    chosen_by = ("train",) if recipe.strategy.trains_network else ()
    save_training_images(run.training_images, data.listing, data.digests, data.looks)
    save_json(
        run.metrics,
        {
            "val": _block(data, val, "val", trained=chosen_by),
            "test": None if test is None else _block(data, test, "test", trained=TRAINABLE),
            "val_is": "held out" if recipe.strategy.trains_network else "out of fold",
            "recipe": recipe.strategy.kind,
            "name": recipe.name,
            "classes": list(data.classes),
            "bad_files": data.bad_files,
            "seconds": spent.as_json(),
        },
    )


def _block(data: Dataset, part: Scored, split: str, *, trained: Sequence[str]) -> dict[str, object]:
    """The scores of a split, with what near-duplicates in the splits that trained the model do to them."""
    labels_N, group_N = data.labels(part.index_N), data.family_N[part.index_N]
    names = [sample.name for sample in data.samples(part.index_N)]
    hit_N = part.probabilities_NK.argmax(axis=1) == labels_N
    leaking = data.leaking(split, trained=trained)
    leaked = {name for group in leaking for name in group.names}
    leak = leak_scores(hit_N, names, leaked, groups=len(leaking), group_N=group_N)
    if leak is not None:
        leak["own_groups"] = any(group.own for group in leaking)
    return {**score(part.probabilities_NK, labels_N, data.classes, group_N=group_N), "leak": leak}
