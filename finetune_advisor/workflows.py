"""The only place where verbs are composed: what the commands and the Python API call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.advice.advise import Advice, advise
from finetune_advisor.advice.table import place
from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.artifacts.profile import Cell, Profile
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import is_edited, load_recipe
from finetune_advisor.artifacts.rundir import NumberedRun, RunDir, RunPlace
from finetune_advisor.artifacts.storage import atomic_write, require_writable
from finetune_advisor.data.batches import default_workers
from finetune_advisor.data.digits import write_digits
from finetune_advisor.errors import DataError, RunError
from finetune_advisor.features import RULER, Progress
from finetune_advisor.inference import Prediction, Predictor
from finetune_advisor.reporting.figures import draw_run
from finetune_advisor.training.interrupt import resumable
from finetune_advisor.training.train import train
from finetune_advisor.training.watch import Watcher

PROFILE_NAME = "profile.json"

DEMO_QUESTIONS = 6
"""Test images that the demo's model is asked about."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Analysis:
    """A profile with its place in the table, and the recipe it leads to."""

    profile: Profile
    advice: Advice

    def save(self, recipe: Path, folder: Path) -> None:
        """Write the profile into `folder`, then the recipe: each whole or not at all."""
        self.profile.save(folder / PROFILE_NAME)
        atomic_write(recipe, self.advice.yaml())


def require_place(recipe: Path, folder: Path, *, force: bool = False) -> None:
    """Check, before anything is measured, that `Analysis.save` may write here; leaves nothing behind.

    Raises:
        RunError: the recipe is there and not as `analyze` wrote it, and `force` does not say to replace it.
        StorageError: the place cannot be written.
    """
    if recipe.is_dir():
        raise RunError(f"{recipe} is a folder; expected the name of a file to write.", "Choose it with -o FILE.")
    if not force and _edited_by_hand(recipe):
        raise RunError(
            f"{recipe} was edited by hand and is not overwritten.", "Use --force to replace it, or -o OTHER_FILE."
        )
    require_writable(recipe)
    require_writable(folder / PROFILE_NAME)


def _edited_by_hand(recipe: Path) -> bool:
    return recipe.is_file() and is_edited(recipe.read_text(encoding="utf-8", errors="replace"))


def analyze_and_advise(
    data: str | Path,
    *,
    backbone: str = RULER,
    weights: str | None = None,
    strategy: Cell | None = None,
    seed: int = 0,
    device: str = "cpu",
    use_cache: bool = True,
    progress: Progress | None = None,
    probe_progress: Progress | None = None,
) -> Analysis:
    """Measure the images, place them in the table, choose a recipe; writes nothing but the cache.

    Args:
        data: the images.
        backbone, weights: the network to be fine-tuned; see `analyze`.
        strategy: a cell to use instead of the one the table points to.
        seed: seeds split, folds and bootstrap.
        device: torch device.
        use_cache: False measures every image again.
        progress, probe_progress: called with (done, to do) while images are measured and probes fitted.

    Raises:
        DataError, BackboneError: what the person can mend.
    """
    measured = analyze(
        data,
        backbone=backbone,
        weights=weights,
        seed=seed,
        device=device,
        use_cache=use_cache,
        progress=progress,
        probe_progress=probe_progress,
    )
    profile = place(measured)
    return Analysis(profile, advise(profile, strategy=strategy, workers=default_workers()))


def run_and_draw(
    recipe: Recipe,
    run: RunPlace,
    *,
    profile: Profile | None = None,
    resume: bool = False,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> RunDir:
    """Execute a recipe, or go on with it, and draw its curves.

    A finished run is not trained again when it is resumed; what is missing of its figures is drawn.

    Raises:
        FinetuneAdvisorError: see `train`.
    """
    if resume and isinstance(run, RunDir) and run.finished:
        folder = run
    else:
        folder = train(recipe, run, profile=profile, resume=resume, device=device, watcher=watcher)
    if not folder.drawn:
        with resumable(folder):
            draw_run(folder)
    return folder


def profile_of(path: Path, recipe: Recipe) -> Profile:
    """The analysis that a person says a recipe came from.

    Raises:
        DataError: the file cannot be read, or is of other images than the recipe's.
    """
    profile = Profile.load(path)
    if not _of_same_data(profile, recipe):
        raise DataError(
            f"{path} is the analysis of {profile.data}; the recipe's images are in {recipe.data.path}.",
            "Name the profile of these images, or leave out --profile.",
        )
    return profile


def profile_beside(recipe_file: Path, recipe: Recipe) -> Profile | None:
    """The analysis that a recipe file came from: `analysis/profile.json` beside it, if it is of the same data."""
    path = recipe_file.parent / "analysis" / PROFILE_NAME
    if not path.is_file():
        return None
    try:
        profile = Profile.load(path)
    except DataError as problem:
        log.warning("the run gets no copy of the analysis: %s", problem.message)
        return None
    return profile if _of_same_data(profile, recipe) else None


def _of_same_data(profile: Profile, recipe: Recipe) -> bool:
    return Path(profile.data).resolve() == Path(recipe.data.path).resolve()


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
    kept = _edited_by_hand(file)
    if not kept:
        analysis.save(file, report)
    yield DemoAnalysis(analysis, file, report, kept)
    recipe = load_recipe(file)
    run = run_and_draw(recipe, NumberedRun(folder / "runs", recipe.name), profile=analysis.profile, device=device)
    yield DemoRun(run)
    asked = tuple(sorted((data / "test").glob("*/*.png")))
    predictor = Predictor.open(run, device=device)
    some = asked[:: max(1, len(asked) // DEMO_QUESTIONS)][:DEMO_QUESTIONS]
    yield DemoAnswers(tuple(predictor.predict(some, workers=0)), predictor.classes)
