"""The whole story on images that ship with a dependency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.artifacts.recipe_dump import scalar_text
from finetune_advisor.artifacts.recipe_file import load_recipe
from finetune_advisor.artifacts.run_place import NumberedRun
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.data.digits import write_digits
from finetune_advisor.inference import Prediction, Predictor
from finetune_advisor.workflows.analysis import Analysis, analyze_and_advise, is_edited_by_hand, require_place
from finetune_advisor.workflows.running import run_and_draw

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
