"""The page about a run, with its diagnosis and its own images."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune_advisor.advice.sentences import why
from finetune_advisor.advice.table import placed
from finetune_advisor.diagnosis.diagnose import diagnose
from finetune_advisor.diagnosis.network_signs import MOST_IMAGES, first_filters
from finetune_advisor.errors import DataError, RecipeError, RunError, StorageError
from finetune_advisor.images.sources import open_recipe_source
from finetune_advisor.images.split import load_groups, load_splits
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.recipes.load import load_recipe, read_recipe_text
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.diagnosis import Diagnosis
from finetune_advisor.records.ensemble import Ensemble
from finetune_advisor.records.predictions import Answer
from finetune_advisor.records.profile import Profile
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.reporting.filters import filter_sheet
from finetune_advisor.reporting.run_page import RunFacts, least_sure, run_page, worst, write_figures
from finetune_advisor.reporting.saliency import overlays
from finetune_advisor.storage.files import atomic_write
from finetune_advisor.version import __version__

log = logging.getLogger(__name__)


def run_images(run: RunDir, split: str) -> Mapping[str, Path]:
    """The file of each image of a split, by its name; none, which is logged, where they are not there any more."""
    try:
        data = load_recipe(run.recipe).data
        names = [name for name, (_, part) in load_splits(run.splits).items() if part == split]
        paths = {sample.name: sample.path for sample in open_recipe_source(data, warn=False).samples}
    except (DataError, RecipeError, StorageError) as problem:
        log.info("the images of %s are not to be had: %s", run.path, problem.message)
        return {}
    return {name: paths[name] for name in names if name in paths}


def some_images(run: RunDir, split: str, most: int) -> list[Path]:
    """At most so many of them, from all over the split, which may be sorted by class."""
    paths = list(run_images(run, split).values())
    return paths[:: max(1, len(paths) // most)][:most]


def diagnose_run(run: RunDir, *, device: str = "cpu") -> Diagnosis:
    """Diagnose a run and keep what was seen in its folder, where that can be written.

    Raises:
        RunError, RecipeError, DataError: see `diagnose`.
    """
    diagnosis = diagnose(run, images=some_images(run, "val", MOST_IMAGES), device=device)
    try:
        diagnosis.save(run.diagnosis)
    except StorageError as problem:
        log.warning("the diagnosis is not kept: %s", problem.message)
    return diagnosis


def write_run_page(run: RunDir, *, device: str = "cpu") -> Path:
    """Write `report.html` and the figures of a finished run; what cannot be had any more is left out and logged.

    Raises:
        RunError: the run has not finished, or its files are missing or damaged.
        StorageError: the folder cannot be written.
    """
    facts = run_facts(run, device=device)
    write_figures(facts, run.figures)
    atomic_write(run.report, run_page(facts, version=__version__).encode(errors="backslashreplace"))
    return run.report


def run_facts(run: RunDir, *, device: str = "cpu") -> RunFacts:
    """Everything that the page about a run is made of.

    Raises:
        RunError: the run has not finished, or its files are missing or damaged.
    """
    metrics = run.load_metrics()
    recipe, answers = load_recipe(run.recipe), run.load_predictions(metrics)
    diagnosis = None if run.is_ensemble else _diagnosis(run, device=device)
    try:
        predictor = Predictor.open(run, device=device)
    except RunError as problem:
        log.warning("the report shows no pictures of the network: %s", problem.message)
        looks, filters = {}, None
    else:
        images = run_images(run, "test" if metrics["test"] is not None else "val")
        shown = [answer.name for answer in (*worst(answers), *least_sure(answers))]
        looks = overlays(predictor, {name: images[name] for name in shown if name in images})
        weights = first_filters(predictor.net)
        filters = None if weights is None else filter_sheet(weights.float().numpy())
    return RunFacts(
        path=run.path,
        recipe=recipe,
        recipe_yaml=read_recipe_text(run.recipe),
        metrics=metrics,
        records=run.load_history(),
        answers=_in_order(answers),
        groups=load_groups(run.splits) if run.splits.is_file() else {},
        diagnosis=diagnosis,
        ensemble=Ensemble.load(run.ensemble) if run.ensemble.is_file() else None,
        environment=_environment(run.environment),
        why=_why(run, recipe),
        looks=looks,
        filters=filters,
    )


def _diagnosis(run: RunDir, *, device: str) -> Diagnosis:
    """What was seen before, or seen again where that is not there or cannot be read."""
    if run.diagnosis.is_file():
        try:
            return Diagnosis.load(run.diagnosis)
        except RunError as problem:
            log.warning("the run is diagnosed again: %s", problem.message)
    return diagnose_run(run, device=device)


def _in_order(answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
    return tuple(sorted(answers, key=lambda answer: answer.name))


def _why(run: RunDir, recipe: Recipe) -> tuple[str, ...]:
    """What the advice says of the analysis in the folder, where there is one that can be read."""
    if not run.profile.is_file():
        return ()
    try:
        profile = Profile.load(run.profile)
    except DataError as problem:
        log.warning("the report does not say why this recipe: %s", problem.message)
        return ()
    known = placed(profile)
    chosen = recipe.strategy.kind
    named = chosen in {known.cell, *(neighbor.cell for neighbor in known.neighbors)}
    assert known.cell is not None, "just placed"
    return tuple(why(known, chosen if named else known.cell))  # type: ignore[arg-type]


def _environment(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        log.warning("the report does not name the environment: %s", problem)
        return {}
    return loaded if isinstance(loaded, dict) else {}
