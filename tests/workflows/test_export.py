"""A model leaves: as ONNX, as a folder that timm opens, with a card; always with the same answers.

Shapes: N images, K classes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from finetune_advisor.errors import BackboneError, DataError, RunError
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.ensemble import ExportForm
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from finetune_advisor.workflows import export as workflow
from finetune_advisor.workflows.export import export

COLORS = {"ants": (200, 60, 60), "bees|wild": (60, 200, 60)}
TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=64", "runtime.workers=0")


def write_images(root: Path, count: int, *, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise_HWC = rng.normal(color, 25.0, (70, 90, 3))
            Image.fromarray(noise_HWC.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A finished linear probe, its images still there."""
    folder = tmp_path_factory.mktemp("export")
    data = write_images(folder / "images", 8, seed=0)
    return train(load_recipe("linear_probe", [f"data.path={data}", *TINY]), RunDir(folder / "run"))


@pytest.fixture(scope="module")
def onnx_path(probe: RunDir) -> Path:
    done = export(probe, ExportForm.onnx)
    assert (done.real, done.images, done.same_class) == (True, 4, 4), "the validation images: there is no test split"
    assert done.path == probe.path / "export" / "model.onnx" and done.largest_difference < 1e-3
    return done.path


def test_onnx_says_what_it_takes_and_what_comes_out(probe: RunDir, onnx_path: Path) -> None:
    text = {entry.key: entry.value for entry in onnx.load(onnx_path).metadata_props}
    metadata = {key: json.loads(value) for key, value in text.items() if key != "example"}
    assert metadata["class_names"] == list(Predictor.open(probe).classes)
    described = metadata["preprocessing"]
    assert (described["size"], described["fit"], described["interpolation"]) == (64, "crop", "bicubic")
    order = (
        "first frame",
        "EXIF",
        "values of more than 8 bits",
        "transparent on white",
        "RGB",
        "cut out the center",
        "normalization",
    )
    assert len(order) == len(described["steps"])
    assert all(words in step for words, step in zip(order, described["steps"], strict=True))
    assert described["ground"] == [255, 255, 255] and described["fill"] is None
    assert metadata["finetune_advisor"]["recipe"] == "linear_probe"


def test_a_form_may_be_named_by_its_word(probe: RunDir, tmp_path: Path) -> None:
    done = export(probe, "onnx", out=tmp_path / "model.onnx")
    assert done.onnx == done.path == tmp_path / "model.onnx" and done.path.is_file()


def test_onnx_can_be_used_from_its_own_description_alone(probe: RunDir, onnx_path: Path, tmp_path: Path) -> None:
    """Any number of images, decoded by hand as the metadata says."""
    paths = sorted(write_images(tmp_path / "new", 3, seed=1).rglob("*.png"))
    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    how = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    resized, size = int(how["size"] / how["crop_pct"]), how["size"]
    pixels = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        scaled = image.resize((int(resized * image.width / image.height), resized), Image.Resampling.BICUBIC)
        left, top = round((scaled.width - size) / 2), round((scaled.height - size) / 2)
        pixels.append(np.asarray(scaled.crop((left, top, left + size, top + size))).transpose(2, 0, 1))
    [found_NK] = session.run(["probabilities"], {"pixels": np.stack(pixels)})
    wanted_NK = Predictor.open(probe).probabilities(paths, workers=0)
    np.testing.assert_allclose(found_NK, wanted_NK, atol=1e-4)
    [one_NK] = session.run(None, {"pixels": pixels[0][None]})
    np.testing.assert_allclose(one_NK, found_NK[:1], atol=1e-5)


@pytest.mark.parametrize("form", [ExportForm.hub, ExportForm.safetensors])
def test_an_exported_folder_answers_like_the_run(probe: RunDir, tmp_path: Path, form: ExportForm) -> None:
    done = export(probe, form, out=tmp_path / "model")
    assert (done.largest_difference, done.same_class) == (0, done.images)
    card = ["README.md"] if form is ExportForm.hub else []
    assert sorted(path.name for path in done.path.iterdir()) == [*card, "config.json", "model.safetensors"]
    paths = sorted(write_images(tmp_path / "new", 1, seed=1).rglob("*.png"))
    found_NK = Predictor.open(RunDir(done.path)).probabilities(paths, workers=0)
    np.testing.assert_array_equal(found_NK, Predictor.open(probe).probabilities(paths, workers=0))


def test_the_card_tells_data_recipe_scores_and_limits(probe: RunDir, tmp_path: Path) -> None:
    card = (export(probe, ExportForm.hub, out=tmp_path / "model").path / "README.md").read_text()
    front, body = card.removeprefix("---\n").split("---\n", 1)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "timm" and metadata["pipeline_tag"] == "image-classification"
    assert "license" not in metadata, "nobody knows the license of random weights"
    [result] = metadata["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": probe.load_metrics()["val"]["accuracy"]}]
    assert "finetune_advisor" not in body and "timm.create_model" in body, "a plain timm network"
    assert r"| bees\|wild |" in body, "names of classes are no Markdown"
    assert "There was no test split" in body and "strategy:\n  kind: linear_probe" in body
    assert str(probe.path.parent) not in card, "where the images lay is nobody's business"


def test_the_hub_reads_the_card(probe: RunDir, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(export(probe, ExportForm.hub, out=tmp_path / "model").path / "README.md")
    assert card.data.eval_results[0].metric_type == "accuracy" and card.data.library_name == "timm"


def test_a_stage_probe_ships_onnx_which_its_card_uses(tmp_path: Path) -> None:
    data = write_images(tmp_path / "images", 6, seed=0)
    recipe = load_recipe("stage_probe", [f"data.path={data}", *TINY, "strategy.stages=[blocks.1, pooled]"])
    run = train(recipe, RunDir(tmp_path / "run"))
    shutil.rmtree(data)
    done = export(run, ExportForm.hub)
    card = (done.path / "README.md").read_text()
    assert done.onnx == done.path / "model.onnx" and done.onnx.is_file() and "library_name: onnx" in card
    assert "finetune_advisor" not in card and "timm.create_model" not in card
    assert not done.real and done.same_class == done.images, "its images are gone, so noise is compared"


def test_a_folder_that_would_need_this_package_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_images(tmp_path / "images", 6, seed=0)
    recipe = load_recipe("stage_probe", [f"data.path={data}", *TINY, "strategy.stages=[blocks.1, pooled]"])
    run = train(recipe, RunDir(tmp_path / "run"))
    monkeypatch.setattr("finetune_advisor.backbones.inference_graph.LARGEST_BYTES", 1)
    with pytest.raises(BackboneError, match="cannot be written as ONNX") as caught:
        export(run, ExportForm.hub, out=tmp_path / "model")
    assert "timm has no network of this shape either" in str(caught.value.hint)
    assert not (tmp_path / "model").exists()


def test_images_that_are_named_and_cannot_be_read_are_no_reason_for_noise(probe: RunDir, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"None of the images that are named can be read: .*empty\.png"):
        export(probe, ExportForm.safetensors, out=tmp_path / "model", images=[tmp_path / "empty.png"])


def test_images_can_be_named(probe: RunDir, tmp_path: Path) -> None:
    paths = sorted(write_images(tmp_path / "new", 40, seed=1).rglob("*.png"))
    assert export(probe, ExportForm.safetensors, out=tmp_path / "model", images=paths).images == 80


def test_an_export_that_answers_otherwise_is_told(
    probe: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "_answers", lambda predictor, x_BCHW: torch.rand(len(x_BCHW), 2).numpy())
    with pytest.raises(BackboneError, match="gives other predictions than the model"):
        export(probe, ExportForm.safetensors, out=tmp_path / "model")


def test_what_cannot_be_written_as_onnx_is_said(probe: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_advisor.backbones.inference_graph.LARGEST_BYTES", 1)
    with pytest.raises(BackboneError, match="cannot be written as ONNX: its weights take") as caught:
        export(probe, ExportForm.onnx)
    assert "--format hub" in str(caught.value.hint)


@pytest.mark.parametrize("place", ["", "model"])
def test_a_run_is_not_written_over(probe: RunDir, tmp_path: Path, place: str) -> None:
    other = RunDir(Path(shutil.copytree(probe.path, tmp_path / "other")))
    before = (other.model / "config.json").stat().st_mtime_ns
    with pytest.raises(RunError, match=r"belongs to the run in .*other"):
        export(probe, ExportForm.safetensors, out=other.path / place)
    assert (other.model / "config.json").stat().st_mtime_ns == before
    assert not (other.path / "config.json").exists()


def test_an_unfinished_run_is_refused(probe: RunDir, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    shutil.copy(probe.recipe, tmp_path / "half")
    with pytest.raises(RunError, match="has not finished"):
        export(RunDir(tmp_path / "half"), ExportForm.hub)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["linear_probe", "stage_probe"])
def test_every_test_image_of_hymenoptera_gets_the_same_answer(shared_data: Path, tmp_path: Path, recipe: str) -> None:
    data = shared_data / "hymenoptera"
    run = train(load_recipe(recipe, [f"data.path={data}"]), RunDir(tmp_path / "run"))
    images = sorted((data / "test").rglob("*.jpg"))
    for form in ExportForm:
        done = export(run, form, images=images)
        assert done.images == done.same_class == 153
        assert done.largest_difference < 1e-3
