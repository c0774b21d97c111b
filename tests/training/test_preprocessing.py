"""Every kind of preprocessing trains, and the model goes on seeing images as it was trained on them.

Shapes: N images, D numbers of an image.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from finetune_advisor.backbones.export import load_model
from finetune_advisor.backbones.wrappers.whitened import Whitened
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.loading.batches import eval_batches, normalize
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training import prepare as module
from finetune_advisor.training.prepare import Prepared, fitted_whitening, pixel_covariance, prepare
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher
from tests.training.conftest import MakeRecipe

ImageFolder = Callable[..., Path]

COUNTS = {"train/ants": 12, "train/bees": 12, "val/ants": 3, "val/bees": 3, "test/ants": 3, "test/bees": 3}
WHITE = "preprocessing={kind: pca_whitening, size: 16, epsilon: 0.0001}"
SCRATCH = ("budget={epochs: 1}", "optimizer.batch=8", "head.initialization={kind: he}", "backbone.name=test_resnet")


def predictions_of(run: RunDir) -> dict[str, float]:
    with run.predictions.open() as file:
        return {row["path"]: float(row["probability"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    "preprocessing",
    [
        "{kind: data, size: 32}",
        "{kind: min_max, size: 32, interpolation: nearest}",
        "{kind: backbone, size: 32, fit: pad, interpolation: lanczos}",
        "{kind: pca_whitening, size: 16, epsilon: 0.0001}",
    ],
)
def test_a_model_predicts_as_it_was_scored(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, preprocessing: str
) -> None:
    data = image_folder(COUNTS, size=(20, 16))
    run = train(recipe("from_scratch", data, *SCRATCH, f"preprocessing={preprocessing}"), RunDir(tmp_path / "run"))
    scored = predictions_of(run)
    found = Predictor.open(run).probabilities([data / name for name in scored], workers=0)
    np.testing.assert_allclose(found.max(axis=1), list(scored.values()), atol=2e-5)


def test_the_data_s_own_numbers_are_in_the_model(image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path) -> None:
    data = image_folder(COUNTS, size=(20, 16))
    settings = "preprocessing={kind: data, size: 32}"
    run = train(recipe("from_scratch", data, *SCRATCH, settings), RunDir(tmp_path / "run"))
    pixels_PC = np.concatenate(
        [np.asarray(Image.open(path)).reshape(-1, 3) for path in sorted((data / "train").rglob("*.png"))]
    )
    preprocess = Predictor.open(run).preprocess
    assert preprocess.mean == pytest.approx(pixels_PC.mean(axis=0) / 255)
    assert preprocess.std == pytest.approx(pixels_PC.std(axis=0) / 255)


def prepared_of(image_folder: ImageFolder, recipe: MakeRecipe) -> Prepared:
    data = image_folder({"train/ants": 500, "train/bees": 500, "val/ants": 2, "val/bees": 2}, size=(16, 16))
    chosen = recipe("from_scratch", data, *SCRATCH, "preprocessing={kind: pca_whitening, size: 16, epsilon: 1.0e-8}")
    return prepare(chosen, device="cpu", watcher=Watcher())


def test_whitened_training_images_have_the_identity_for_their_covariance(
    image_folder: ImageFolder, recipe: MakeRecipe
) -> None:
    prepared = prepared_of(image_folder, recipe)
    whitening = fitted_whitening(prepared, device="cpu", folder=None)
    assert whitening is not None
    paths = [sample.path for sample in prepared.data.samples(prepared.data.index("train"))]
    [made] = eval_batches(paths, prepared.preprocess, batch=1000, workers=0)
    white_ND = whitening(normalize(made.x_BCHW, prepared.preprocess)).flatten(1).double().numpy()
    np.testing.assert_allclose(np.cov(white_ND.T, bias=True), np.eye(768), atol=2e-3)
    np.testing.assert_allclose(white_ND.mean(axis=0), 0, atol=1e-3)


def test_it_is_computed_once_for_the_same_images(
    image_folder: ImageFolder,
    recipe: MakeRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = image_folder(COUNTS, size=(20, 16))
    prepared = prepare(recipe("from_scratch", data, *SCRATCH, WHITE), device="cpu", watcher=Watcher())
    first = fitted_whitening(prepared, device="cpu", folder=tmp_path)
    assert "24 training images cannot vary in all 768 directions" in caplog.text
    assert "noise is multiplied by 100" in caplog.text
    counted: list[int] = []

    def counting(*given: Any, **settings: Any) -> Any:
        counted.append(1)
        return pixel_covariance(*given, **settings)

    monkeypatch.setattr(module, "pixel_covariance", counting)
    again = fitted_whitening(prepared, device="cpu", folder=tmp_path)
    assert first is not None and again is not None and not counted
    assert torch.equal(first.matrix_DD, again.matrix_DD)
    [file] = tmp_path.glob("*.safetensors")
    file.write_bytes(b"cut short")
    mended = fitted_whitening(prepared, device="cpu", folder=tmp_path)
    assert mended is not None and torch.equal(first.matrix_DD, mended.matrix_DD) and counted
    assert "damaged and computed again" in caplog.text


def test_timm_alone_whitens_when_it_opens_the_model(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder(COUNTS, size=(20, 16))
    run = train(recipe("from_scratch", data, *SCRATCH, WHITE), RunDir(tmp_path / "run"))
    net, _ = load_model(run.model)
    assert isinstance(net, Whitened)
    x_BCHW = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    opened = timm.create_model(f"local-dir:{run.model}", pretrained=True).eval()
    torch.testing.assert_close(opened(x_BCHW), net(x_BCHW))
    with torch.no_grad():
        assert (net(x_BCHW) - net.net(x_BCHW)).abs().max() > 1e-3, "and it is the whitening that matters"
        torch.testing.assert_close(net.forward_head(net.forward_features(x_BCHW)), net(x_BCHW))


@pytest.mark.parametrize(
    ("base", "edits", "says"),
    [
        ("from_scratch", ("backbone.name=mobilevit_xxs",), "does not zero-center the images of mobilevit_xxs"),
        ("from_scratch", ("preprocessing={kind: data, size: 64}", "backbone.name=mobilevit_xxs"), None),
        ("from_scratch", ("preprocessing={kind: min_max, size: 64}",), None),
        ("few_layers", ("backbone={name: tf_efficientnet_lite0, weights: bundled}",), None),
        (
            "few_layers",
            ("backbone={name: tf_efficientnet_lite0, weights: bundled}", "preprocessing={kind: data, size: 64}"),
            "other numbers than its pretraining",
        ),
    ],
)
def test_images_are_centered_and_pretrained_networks_see_what_they_know(
    image_folder: ImageFolder,
    recipe: MakeRecipe,
    caplog: pytest.LogCaptureFixture,
    base: str,
    edits: tuple[str, ...],
    says: str,
) -> None:
    data = image_folder({"ants": 4, "bees": 4})
    with caplog.at_level(logging.WARNING):
        prepare(recipe(base, data, *edits), device="cpu", watcher=Watcher())
    found = [record.message for record in caplog.records if "preprocessing" in record.message]
    assert len(found) == (says is not None)
    assert says is None or says in found[0]
