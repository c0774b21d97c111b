"""The program that an export brings along, run as it stands where this package cannot be imported.

It predicts what `predict` does, on every kind of file and for every fit.

Shapes: N images, K classes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from finetune_advisor.backbones.export import described, save_model
from finetune_advisor.backbones.variant import VARIANT, Variant
from finetune_advisor.backbones.wrappers.ensemble import LOOKS
from finetune_advisor.backbones.wrappers.whitened import WHITENED
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.loading.fit import fit_image
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.ensemble import ExportForm
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.activation import Maxout, Prelu
from finetune_advisor.training.trainer import train
from finetune_advisor.workflows.export import export

SIZE, SMALL = 64, "mobilenetv3_small_050"
TOLERANCE = 1e-4
"""Of a probability: the pixels are the same, only the order of additions differs."""

WITHOUT_US = """
import json, runpy, sys
sys.modules["finetune_advisor"] = None  # importing it fails, as where it is not installed
scope = runpy.run_path("program.py")
for path in sys.argv[1:]:
    print(json.dumps(scope["predict"](path)))
assert not [name for name in sys.modules if name.startswith("finetune_advisor.")]
"""

MODELS = {"timm": "linear_probe", "onnx": "stage_probe"}


def _drawing(width: int, height: int, *, seed: int) -> np.ndarray:
    """Smooth shapes, no two sides alike (H, W, 3), on the scale 0..1."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 255


def _exif(path: Path) -> None:
    """A photograph taken with the camera on its side, so large that it is decoded at half its size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray((255 * _drawing(420, 320, seed=1)).astype(np.uint8))
    image.save(path.with_suffix(".jpg"), quality=95, exif=exif)


def _transparent(path: Path) -> None:
    """A drawing in black on nothing: where nothing is, the file holds black as well."""
    alpha = (255 * (_drawing(120, 80, seed=2)[..., :1] > 0.5)).astype(np.uint8)
    Image.fromarray(np.concatenate([np.zeros((80, 120, 3), np.uint8), alpha], axis=2)).save(path.with_suffix(".png"))


def _sixteen_bits(path: Path) -> None:
    Image.fromarray((65535 * _drawing(80, 120, seed=3)[..., 0]).astype(np.uint16)).save(path.with_suffix(".png"))


def _sixteen_bits_turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    image = Image.fromarray((65535 * _drawing(80, 120, seed=10)[..., 0]).astype(np.uint16))
    image.save(path.with_suffix(".png"), exif=exif)


def _sixteen_bits_color(path: Path) -> None:
    """PNG, written by hand: Pillow has no such mode."""
    values = (65535 * _drawing(90, 70, seed=11)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 90, 70, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.with_suffix(".png").write_bytes(content)


def _floats(path: Path) -> None:
    Image.fromarray(_drawing(80, 120, seed=12)[..., 0].astype(np.float32)).save(path.with_suffix(".tif"))


def _from_white(path: Path) -> None:
    image = Image.fromarray((65535 * _drawing(80, 120, seed=13)[..., 0]).astype(np.uint16))
    image.save(path.with_suffix(".tif"), tiffinfo={262: 0})


def _wide(path: Path) -> None:
    Image.fromarray((255 * _drawing(200, 70, seed=4)).astype(np.uint8)).save(path.with_suffix(".png"))


def _tall(path: Path) -> None:
    Image.fromarray((255 * _drawing(61, 150, seed=5)).astype(np.uint8)).save(path.with_suffix(".png"))


def _animated(path: Path) -> None:
    first, second = (Image.fromarray((255 * _drawing(90, 70, seed=seed)).astype(np.uint8)) for seed in (6, 7))
    first.save(path.with_suffix(".gif"), save_all=True, append_images=[second])


def _palette(path: Path) -> None:
    image = Image.fromarray((255 * _drawing(90, 70, seed=8)).astype(np.uint8)).quantize(32)
    image.save(path.with_suffix(".png"), transparency=int(np.bincount(np.asarray(image).ravel()).argmax()))


def _exact(path: Path) -> None:
    """An image that has the network's size already is not resized and cropped."""
    Image.fromarray((255 * _drawing(SIZE, SIZE, seed=9)).astype(np.uint8)).save(path.with_suffix(".png"))


KINDS: Mapping[str, Callable[[Path], None]] = {
    "exif": _exif,
    "transparent": _transparent,
    "16 bits": _sixteen_bits,
    "16 bits turned": _sixteen_bits_turned,
    "16 bits in color": _sixteen_bits_color,
    "floats": _floats,
    "counted from white": _from_white,
    "wide": _wide,
    "tall": _tall,
    "animated": _animated,
    "palette": _palette,
    "exact": _exact,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    for name, draw in KINDS.items():
        draw(folder / name)
    return {name: next(folder.glob(f"{name}.*")) for name in KINDS}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """A finished run whose network timm opens, and one whose network it does not; both see small differences."""
    folder = tmp_path_factory.mktemp("runs")
    for place, label in enumerate(("first", "second", "third")):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(8):
            pixels_HWC = _drawing(SIZE, SIZE, seed=100 + 10 * number + place)
            Image.fromarray((255 * pixels_HWC).astype(np.uint8)).save(folder / "images" / label / f"{number}.png")
    common = (f"data.path={folder / 'images'}", f"preprocessing.size={SIZE}", "runtime.workers=0")
    settings = {"timm": (), "onnx": ("strategy.stages=[blocks.1, pooled]",)}
    return {way: train(load_recipe(MODELS[way], [*common, *settings[way]]), RunDir(folder / way)) for way in MODELS}


def _seen_as(run: RunDir, folder: Path, **preprocessing: object) -> RunDir:
    """The same model, which sees images otherwise."""
    copy = RunDir(Path(shutil.copytree(run.path, folder)))
    path = copy.model / "config.json"
    config = json.loads(path.read_text())
    config["finetune_advisor"]["preprocessing"] |= preprocessing
    path.write_text(json.dumps(config))
    return copy


def _predictions(program: str, folder: Path, files: Mapping[str, Path]) -> list[dict[str, float]]:
    """What the program prints about `image.jpg`, then about each file."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    shutil.copy(next(iter(files.values())), folder / "image.jpg")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, *map(str, files.values())],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    first, *others = result.stdout.splitlines()
    return [ast.literal_eval(first), *map(json.loads, others)]


def _program_of(card: str) -> str:
    programs: list[str] = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    [program] = programs
    return program


def _require_same(run: RunDir, files: Mapping[str, Path], found: list[dict[str, float]]) -> None:
    predictor = Predictor.open(run)
    wanted_NK = predictor.probabilities(list(files.values()), workers=0)
    assert all(tuple(row) == predictor.classes for row in found)
    first_K, *found_NK = [list(row.values()) for row in found]
    for name, found_K, wanted_K in zip(files, found_NK, wanted_NK, strict=True):
        np.testing.assert_allclose(found_K, wanted_K, atol=TOLERANCE, err_msg=name)
        assert np.argmax(found_K) == np.argmax(wanted_K), name
    assert first_K == found_NK[0]


@pytest.mark.parametrize(
    ("way", "fit"),
    [
        *(("timm", fit) for fit in ("crop", "pad", "stretch")),
        ("onnx", "pad"),
        *(pytest.param("onnx", fit, marks=pytest.mark.slow) for fit in ("crop", "stretch")),
    ],
)
def test_the_program_of_a_card_predicts_what_predict_does(
    runs: dict[str, RunDir], files: dict[str, Path], tmp_path: Path, way: str, fit: str
) -> None:
    run = _seen_as(runs[way], tmp_path / "run", fit=fit)
    folder = export(run, ExportForm.hub, out=tmp_path / "model").path
    program = _program_of((folder / "README.md").read_text(encoding="utf-8"))
    modules = set(re.findall(r"^(?:import|from) (\w+)", program, flags=re.MULTILINE))
    assert modules == {"numpy", "PIL"} | ({"timm", "torch"} if way == "timm" else {"json", "onnxruntime"})
    _require_same(run, files, _predictions(program, folder, files))


@pytest.mark.parametrize(
    "value_range", [(1000.0, 5095.0), *(pytest.param(r, marks=pytest.mark.slow) for r in ((0.0, 3e4), (-100.5, 0.7)))]
)
def test_a_program_maps_the_values_that_the_model_was_trained_on(
    runs: dict[str, RunDir], files: dict[str, Path], tmp_path: Path, value_range: tuple[float, float]
) -> None:
    run = _seen_as(runs["timm"], tmp_path / "run", value_range=value_range)
    folder = export(run, ExportForm.hub, out=tmp_path / "model").path
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{value_range[0]:g}..{value_range[1]:g} to 0..255" in card
    shown = {name: path for name, path in files.items() if name != "16 bits in color"}
    _require_same(run, shown, _predictions(_program_of(card), folder, shown))


@pytest.mark.slow
def test_the_program_in_an_onnx_file_predicts_what_predict_does(
    runs: dict[str, RunDir], files: dict[str, Path], tmp_path: Path
) -> None:
    path = export(runs["timm"], ExportForm.onnx, out=tmp_path / "model.onnx").path
    [program] = [entry.value for entry in onnx.load(path).metadata_props if entry.key == "example"]
    _require_same(runs["timm"], files, _predictions(program, tmp_path, files))


@pytest.mark.parametrize("kind", ["exif", "transparent", "16 bits", "counted from white", "wide", "exact"])
def test_these_files_show_what_a_program_leaves_out(runs: dict[str, RunDir], files: dict[str, Path], kind: str) -> None:
    """Were a step of decoding missing, the predictions would differ by far more than the tolerance."""
    predictor = Predictor.open(runs["timm"])
    [wanted_K] = predictor.probabilities([files[kind]], workers=0)
    with Image.open(files[kind]) as image:
        plain = image.convert("RGB")
    if kind in ("wide", "exact"):
        plain = plain.resize((SIZE + 1, SIZE + 1))
    pixels_HWC = np.asarray(fit_image(plain, predictor.preprocess))
    [found_K] = predictor.probabilities_of(torch.from_numpy(pixels_HWC.transpose(2, 0, 1)[None].copy()))
    assert np.abs(found_K - wanted_K).max() > 20 * TOLERANCE


def _with(variant: Variant) -> Mapping[str, Any]:
    return {"architecture": VARIANT, "model_args": {"backbone": SMALL, "size": SIZE, **variant.as_arguments()}}


NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "hidden maxout": _with(Variant(None, 5, Maxout())),
    "other activations": _with(Variant(Prelu())),
    "of the slides": {"architecture": "nin", "model_args": {}},
    "whitened": {"architecture": WHITENED, "model_args": {"backbone": SMALL, "backbone_args": {}, "size": SIZE}},
    "several views": {
        "architecture": LOOKS,
        "model_args": {
            "member": {"architecture": "resnet18", "model_args": {}, "pretrained_cfg": {}},
            "looks": [[0, 0, 40, False], [10, 4, 32, True]],
            "size": 32,
        },
    },
}


@pytest.mark.parametrize(
    "kind", ["hidden maxout", *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(NETWORKS)[1:])]
)
def test_what_timm_has_no_network_for_ships_onnx(runs: dict[str, RunDir], tmp_path: Path, kind: str) -> None:
    """For any number of images: as many as are compared, and one."""
    network = NETWORKS[kind]
    run = RunDir(Path(shutil.copytree(runs["timm"].path, tmp_path / "run")))
    predictor = Predictor.open(run)
    save_model(
        timm.create_model(network["architecture"], num_classes=3, **network["model_args"]),
        run.model,
        **network,
        classes=predictor.classes,
        preprocessing=described(predictor.preprocess),
        details={"preprocessing": asdict(predictor.preprocess)},
    )
    done = export(run, ExportForm.safetensors, out=tmp_path / "model")
    assert done.onnx == done.path / "model.onnx" and done.onnx.is_file()
    assert done.same_class == done.images > 2
    session = onnxruntime.InferenceSession(done.onnx, providers=["CPUExecutionProvider"])
    [one_K] = session.run(None, {"pixels": np.zeros((1, 3, SIZE, SIZE), np.uint8)})[0]
    assert one_K.shape == (3,) and one_K.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("fit", "words"), [("crop", ("center", 0.875)), ("pad", ("border", 1.0)), ("stretch", ("squash", 1.0))]
)
def test_an_exported_config_says_in_timms_words_how_images_are_fitted(
    runs: dict[str, RunDir], tmp_path: Path, fit: str, words: tuple[str, float]
) -> None:
    """Also where the run was written before timm was told."""
    run = _seen_as(runs["timm"], tmp_path / "run", fit=fit, crop_pct=0.875)
    folder = export(run, ExportForm.safetensors, out=tmp_path / "model").path
    timms = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    assert (timms["crop_mode"], timms["crop_pct"]) == words
