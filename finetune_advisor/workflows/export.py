"""A finished model as files for elsewhere, opened again and compared with the model on real images.

Shapes: B images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from finetune_advisor.backbones.build import backbone_config
from finetune_advisor.backbones.export import CONFIG_FILE, ONNX_FILE, WEIGHTS_FILE, described, steps, timm_opens_alone
from finetune_advisor.backbones.inference_graph import NoGraph
from finetune_advisor.backbones.onnx import answers_of, onnx_file
from finetune_advisor.backbones.weights import WORDS
from finetune_advisor.errors import BackboneError, DataError, RunError
from finetune_advisor.images.split import load_splits
from finetune_advisor.inference.predictor import BATCH, Predictor, model_folder
from finetune_advisor.loading.batches import eval_batches
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.ensemble import ExportForm
from finetune_advisor.records.environment import installed_version
from finetune_advisor.records.profile import Profile
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.reporting.model_card import Card, model_card
from finetune_advisor.storage.files import atomic_path, atomic_write
from finetune_advisor.text import some
from finetune_advisor.workflows.report import some_images

MOST_IMAGES = 64
"""Of the run's own images that model and export are compared on."""

MOST_NAMED = 512
"""Of those that a person names."""

TOLERANCE = 1e-3
"""Largest difference of a probability between them."""

CARD_FILE = "README.md"

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares with the model.

    Attributes:
        path: the file or folder.
        images: how many images were compared.
        real: whether they were images, and not noise for want of any.
        largest_difference: of a probability.
        same_class: of how many images the most probable class is the same.
        onnx: the ONNX file, where one was written: alone, or in a folder that timm does not open without this package.
        steps: what is done to a file before it goes into the network.
    """

    path: Path
    images: int
    real: bool
    largest_difference: float
    same_class: int
    onnx: Path | None
    steps: tuple[str, ...]


def export(
    run: RunDir,
    form: ExportForm | Literal["safetensors", "hub", "onnx"],
    *,
    out: Path | None = None,
    images: Sequence[Path] = (),
) -> Exported:
    """Write the model of a run in another form, and compare both.

    Args:
        run: a finished run, or an ensemble.
        form: `safetensors`: weights and config.json, and model.onnx where timm does not open them without this package.
            `hub`: these with a model card, in timm's hub layout. `onnx`: one file from pixels to probabilities, with
            class names and preprocessing as metadata.
        out: file or folder to write; None is `RUN/export/...`.
        images: what to compare on; none takes some that the run was scored on, or noise where they are gone.

    Raises:
        RunError: the run has not finished or holds no model; or `out` is a run or the model of one.
        BackboneError: the network has an operation that ONNX does not, or the export gives other predictions.
        DataError: none of `images` can be read.
        StorageError: it cannot be written.
    """
    form = ExportForm(form)
    path = out or run.exports / ("model.onnx" if form is ExportForm.onnx else form.value)
    _require_no_run(path)
    predictor = Predictor.open(run)
    x_BCHW, real = _pixels(predictor, images or _scored_images(run), named=bool(images))
    wanted_BK = _answers(predictor, x_BCHW)
    alone = timm_opens_alone(model_folder(run))
    onnx = path if form is ExportForm.onnx else None if alone else path / ONNX_FILE
    card = _card(run, predictor, needs_onnx=not alone) if form is ExportForm.hub else None
    found: list[FloatArray] = []
    if onnx is not None:
        found.append(_write_onnx(run, predictor, onnx, x_BCHW, alone=alone))
    if form is not ExportForm.onnx:
        found.append(_write_folder(run, predictor, path, x_BCHW, card=card))
    difference, same = _compared(path, wanted_BK, found)
    return Exported(path, len(wanted_BK), real, difference, same, onnx, tuple(steps(predictor.preprocess)))


def _require_no_run(path: Path) -> None:
    """Check that an export does not take the place of the model of a run, or mix with its files.

    Raises:
        RunError: it would.
    """
    for place in (RunDir(path), RunDir(path.parent)):
        if place.recipe.is_file() and path.resolve() in (place.path.resolve(), place.model.resolve()):
            raise RunError(
                f"{path} belongs to the run in {place.path}.", "Choose another place for the export: -o OUT."
            )


def _compared(path: Path, wanted_BK: FloatArray, found: Sequence[FloatArray]) -> tuple[float, int]:
    """Largest difference of a probability, and how many images get the same class in everything that was written."""
    difference = max(float(np.abs(found_BK - wanted_BK).max()) for found_BK in found)
    same_B = np.logical_and.reduce([found_BK.argmax(1) == wanted_BK.argmax(1) for found_BK in found])
    if not difference <= TOLERANCE:
        raise BackboneError(
            f"{path} gives other predictions than the model: a probability differs by {difference:.1e}, "
            f"expected at most {TOLERANCE:.0e}.",
            "Do not use it; the folder `model` of the run holds the network itself.",
        )
    return difference, int(same_B.sum())


def _write_onnx(run: RunDir, predictor: Predictor, path: Path, x_BCHW: torch.Tensor, *, alone: bool) -> FloatArray:
    details = {"version": installed_version(), "recipe": _recipe_name(run)}
    try:
        content = onnx_file(predictor.net, predictor.preprocess, predictor.classes, details=details)
        found_BK = answers_of(content, x_BCHW)
    except NoGraph as reason:
        raise BackboneError(
            f"This network cannot be written as ONNX: {reason}.",
            "--format hub holds the network itself."
            if alone
            else "timm has no network of this shape either: only this package opens the folder `model` of the run.",
        ) from reason
    atomic_write(path, content)
    return found_BK


def _write_folder(
    run: RunDir, predictor: Predictor, folder: Path, x_BCHW: torch.Tensor, *, card: str | None
) -> FloatArray:
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        shutil.copyfile(model_folder(run) / WEIGHTS_FILE, temporary)
    # Models of older versions say "center" where images were padded or stretched.
    timms = predictor.config["pretrained_cfg"] | described(predictor.preprocess)
    atomic_write(folder / CONFIG_FILE, json.dumps({**predictor.config, "pretrained_cfg": timms}, indent=2) + "\n")
    if card is not None:
        atomic_write(folder / CARD_FILE, card.encode(errors="backslashreplace"))
    return _answers(Predictor.of_model(folder), x_BCHW)


def _card(run: RunDir, predictor: Predictor, *, needs_onnx: bool) -> str:
    recipe = load_recipe(run.recipe)
    weights = recipe.backbone.weights
    known = weights in WORDS and weights != "random"
    license_ = backbone_config(recipe.backbone.name, weights).get("license") if known else None  # type: ignore[arg-type]
    return model_card(
        Card(
            recipe=recipe,
            metrics=run.load_metrics(),
            classes=predictor.classes,
            images=Counter(split for _, split in load_splits(run.splits).values()),
            preprocess=predictor.preprocess,
            profile=Profile.load(run.profile) if run.profile.is_file() else None,
            license=license_,
            needs_onnx=needs_onnx,
            version=installed_version() or "",
        )
    )


def _recipe_name(run: RunDir) -> str | None:
    return load_recipe(run.recipe).name if run.recipe.is_file() else None


def _scored_images(run: RunDir) -> list[Path]:
    """Images of the test split, or else of validation, that are still where the run found them."""
    return some_images(run, "test", MOST_IMAGES) or some_images(run, "val", MOST_IMAGES)


def _pixels(predictor: Predictor, paths: Sequence[Path], *, named: bool) -> tuple[torch.Tensor, bool]:
    """Pixels (B, C, H, W) of those that can be read, uint8, and whether there are any; else noise, unless named."""
    batches = eval_batches(paths[:MOST_NAMED], predictor.preprocess, batch=BATCH, workers=0)
    parts = [batch.x_BCHW for batch in batches if len(batch.index_B)]
    if parts:
        return torch.cat(parts), True
    if named:
        raise DataError(f"None of the images that are named can be read: {some(list(map(str, paths)), 3)}.")
    log.warning("no image of this run can be read; model and export are compared on noise (name some with --images)")
    side, generator = predictor.preprocess.size, torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (8, 3, side, side), dtype=torch.uint8, generator=generator), False


def _answers(predictor: Predictor, x_BCHW: torch.Tensor) -> FloatArray:
    return np.concatenate([predictor.probabilities_of(part_BCHW) for part_BCHW in torch.split(x_BCHW, BATCH)])
