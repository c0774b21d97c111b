"""The page about a run, with everything that its folder and its images have to say."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from finetune_advisor.advice.sentences import why
from finetune_advisor.advice.table import placed
from finetune_advisor.artifacts.diagnosis import Diagnosis
from finetune_advisor.artifacts.ensemble import Ensemble
from finetune_advisor.artifacts.predictions import Answer
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import load_recipe, read_recipe_text
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.data.split_file import load_groups
from finetune_advisor.diagnosis.weights import first_filters
from finetune_advisor.errors import DataError, RunError
from finetune_advisor.inference import Predictor
from finetune_advisor.reporting.filters import filter_sheet
from finetune_advisor.reporting.run_figures import write_figures
from finetune_advisor.reporting.run_page import RunFacts, least_sure, run_page, worst
from finetune_advisor.reporting.saliency import overlays
from finetune_advisor.version import __version__
from finetune_advisor.workflows.diagnosing import diagnose_run
from finetune_advisor.workflows.run_images import run_images

log = logging.getLogger(__name__)


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
