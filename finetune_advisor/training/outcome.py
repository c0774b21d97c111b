"""What a run leaves behind: the model, the metrics, the predictions.

Shapes: N images, K classes.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.rundir import RunDir, save_json
from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.backbones.build import build, set_classifier
from finetune_advisor.backbones.export import save_model
from finetune_advisor.backbones.stage_probe import ARCHITECTURE, stage_probe_of
from finetune_advisor.data.sources import Sample
from finetune_advisor.dataset import Dataset
from finetune_advisor.metrics import score
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.training.probe import FittedProbe

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Scored:
    """Images of one split with the model's answers."""

    index_N: npt.NDArray[np.intp]
    probabilities_NK: FloatArray


def save_network(run: RunDir, net: nn.Module, recipe: Recipe, classes: tuple[str, ...], preprocess: Preprocess) -> None:
    """Write `model/` for a network whose layers were trained."""
    _save(run, net, recipe, classes, preprocess, architecture=recipe.backbone.name, model_args=None)


def save_probe(
    run: RunDir, probe: FittedProbe, recipe: Recipe, classes: tuple[str, ...], preprocess: Preprocess
) -> None:
    """Write `model/` for a fitted probe: a plain timm network where its classifier sees the pooled features."""
    name, weights = recipe.backbone.name, recipe.backbone.weights
    backbone = build(name, weights, classes=len(classes), seed=recipe.seed, size=preprocess.size)
    weight_KD = torch.tensor(probe.classifier.weight_KD, dtype=torch.float32)
    bias_K = torch.tensor(probe.classifier.bias_K, dtype=torch.float32)
    if probe.stages is None:
        set_classifier(backbone.net, weight_KD, bias_K)
        _save(run, backbone.net, recipe, classes, preprocess, architecture=name, model_args=None)
    else:
        net = stage_probe_of(backbone, probe.stages, weight_KD, bias_K)
        _save(run, net, recipe, classes, preprocess, architecture=ARCHITECTURE, model_args=net.model_args)


def _save(
    run: RunDir,
    net: nn.Module,
    recipe: Recipe,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    *,
    architecture: str,
    model_args: dict[str, Any] | None,
) -> None:
    save_model(
        net,
        run.model,
        architecture=architecture,
        classes=classes,
        preprocessing={
            "input_size": (3, preprocess.size, preprocess.size),
            "mean": preprocess.mean,
            "std": preprocess.std,
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop_pct,
        },
        details={
            "preprocessing": asdict(preprocess),
            "backbone": recipe.backbone.model_dump(),
            "strategy": recipe.strategy.kind,
            "recipe": recipe.name,
        },
        model_args=model_args,
    )


def save_results(
    run: RunDir, recipe: Recipe, data: Dataset, *, val: Scored, test: Scored | None, seconds: dict[str, float]
) -> None:
    """Write predictions.csv, then metrics.json, whose presence says that the run is finished."""
    shown = test if test is not None else val
    _save_predictions(run, data.classes, data.samples(shown.index_N), shown.probabilities_NK)
    blocks = {
        name: None if part is None else score(part.probabilities_NK, data.labels(part.index_N), data.classes)
        for name, part in (("val", val), ("test", test))
    }
    save_json(
        run.metrics,
        {
            **blocks,
            "val_is": "held out" if recipe.strategy.trains_network else "out of fold",
            "recipe": recipe.strategy.kind,
            "name": recipe.name,
            "classes": list(data.classes),
            "bad_files": data.bad_files,
            "seconds": seconds,
        },
    )


def _save_predictions(
    run: RunDir, classes: tuple[str, ...], samples: tuple[Sample, ...], probabilities_NK: FloatArray
) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "prediction", "probability"])
    for sample, probabilities_K in zip(samples, probabilities_NK, strict=True):
        best = int(probabilities_K.argmax())
        rows.writerow([sample.name, classes[sample.label], classes[best], f"{probabilities_K[best]:.6f}"])
    atomic_write(run.predictions, text.getvalue().encode(errors="surrogateescape"))
