"""The whole story on handwritten digits that ship with this package.

`digits.npz` holds the 1,797 scans of the test set of E. Alpaydin and C. Kaynak, "Optical recognition of handwritten
digits", UCI Machine Learning Repository, 1998 (CC BY 4.0), as scikit-learn (BSD 3-Clause) gives them:
`np.savez_compressed("digits.npz", pixels_NHW=d.images.astype("u1"), digit_N=d.target.astype("u1"))` of
`d = sklearn.datasets.load_digits()`.

Shapes: N scans, H height, W width (8 each).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune_advisor.inference.predictor import Prediction, Predictor
from finetune_advisor.recipes.dump import scalar_text
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import NumberedRun, RunDir
from finetune_advisor.storage.files import atomic_write
from finetune_advisor.workflows.analyze import Analysis, analyze_and_advise, is_edited_by_hand, require_place
from finetune_advisor.workflows.run import run_and_draw

DIGITS = Path(__file__).parent / "digits.npz"

SIDE = 64
"""Pixels; the scans have 8 x 8 and are enlarged so that a person can look at them."""

TEST_SHARE = 5
"""Every fifth scan of a digit is kept for the test."""

DEMO_QUESTIONS = 6
"""Test images that the demo's model is asked about."""


@dataclass(frozen=True)
class DemoImages:
    """The demo's images are on disk."""

    count: int
    data: Path


@dataclass(frozen=True)
class DemoAnalysis:
    """They are analyzed; a recipe that a person edited after an earlier demo is kept and will be run."""

    analysis: Analysis
    recipe: Path
    report: Path
    kept: bool


@dataclass(frozen=True)
class DemoRun:
    """The recipe is executed."""

    run: RunDir


@dataclass(frozen=True)
class DemoAnswers:
    """The model has answered about some test images."""

    predictions: tuple[Prediction, ...]
    classes: tuple[str, ...]


DemoStep = DemoImages | DemoAnalysis | DemoRun | DemoAnswers


def demo(folder: Path, *, device: str = "cpu", progress: Callable[[str, int, int], None]) -> Iterator[DemoStep]:
    """Write digits as an image folder, analyze it, run the recipe, ask the model; yields each step when it is done.

    Args:
        folder: where everything goes; an earlier demo there is continued with a new run.
        device: torch device.
        progress: called with (what, done, to do).

    Raises:
        StorageError: the folder cannot be written.
    """
    data, file, report = folder / "digits", folder / "recipe.yaml", folder / "analysis"
    require_place(file, report, force=True)
    yield DemoImages(write_digits(data), data)
    analysis = analyze_and_advise(
        data,
        device=device,
        progress=lambda done, total: progress("looking at the images", done, total),
        probe_progress=lambda done, total: progress("fitting linear classifiers", done, total),
    )
    kept = is_edited_by_hand(file)
    if not kept:
        analysis.save(file, report)
    yield DemoAnalysis(analysis, file, report, kept)
    # The demo's own recipe means the demo's own images, whatever is called like them where one stands.
    recipe = load_recipe(file, () if kept else [f"data.path={scalar_text(str(data))}"])
    run = run_and_draw(recipe, NumberedRun(folder / "runs", recipe.name), profile=analysis.profile, device=device)
    yield DemoRun(run)
    asked = tuple(sorted((data / "test").glob("*/*.png")))
    predictor = Predictor.open(run, device=device)
    some = asked[:: max(1, len(asked) // DEMO_QUESTIONS)][:DEMO_QUESTIONS]
    yield DemoAnswers(tuple(predictor.predict(some, workers=0)), predictor.classes)


def write_digits(folder: Path) -> int:
    """Write the 1,797 scans as `train/<digit>/*.png` and `test/<digit>/*.png`; returns how many there are.

    Raises:
        StorageError: the folder cannot be written.
    """
    with np.load(DIGITS) as scans:
        pixels_NHW, digit_N = scans["pixels_NHW"], scans["digit_N"].tolist()
    counts = [0] * 10
    for pixels_HW, digit in zip(pixels_NHW, digit_N, strict=True):
        counts[digit] += 1
        split = "test" if counts[digit] % TEST_SHARE == 0 else "train"
        path = folder / split / str(digit) / f"{counts[digit]:03d}.png"
        if not path.is_file():
            atomic_write(path, _png(pixels_HW))
    return len(digit_N)


def _png(pixels_HW: npt.NDArray[np.uint8]) -> bytes:
    """A scan with gray values 0..16 as a PNG file."""
    scan = Image.fromarray(np.round(pixels_HW * (255 / 16)).astype(np.uint8))
    stream = io.BytesIO()
    scan.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, format="PNG")
    return stream.getvalue()
