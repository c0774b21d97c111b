"""A recipe executed or an ensemble made, with its figures and its page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from finetune_advisor import processes
from finetune_advisor.artifacts.profile import PROFILE_NAME, Profile
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.run_place import RunPlace
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.errors import DataError
from finetune_advisor.techniques.ensembling import Ensembling
from finetune_advisor.training.interrupt import resumable
from finetune_advisor.training.train import train
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows.diagnosing import diagnose_run
from finetune_advisor.workflows.ensembling import ensemble
from finetune_advisor.workflows.run_page import write_run_page

log = logging.getLogger(__name__)


def run_and_draw(
    recipe: Recipe,
    run: RunPlace,
    *,
    profile: Profile | None = None,
    resume: bool = False,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> RunDir:
    """Execute a recipe, or go on with it, read its curves, draw them, and report.

    A finished run is not trained again when it is resumed; what is missing of its figures is drawn.

    Raises:
        FinetuneAdvisorError: see `train`.
    """
    if resume and isinstance(run, RunDir) and run.finished:
        folder = run
    else:
        folder = train(recipe, run, profile=profile, resume=resume, device=device, watcher=watcher)
    if processes.is_main() and not folder.drawn:
        with resumable(folder):
            diagnose_run(folder, device=device)
            write_run_page(folder, device=device)
    return folder


def ensemble_and_draw(
    runs: Sequence[RunDir],
    technique: Ensembling,
    out: RunDir | None = None,
    *,
    device: str = "cpu",
    watcher: Watcher | None = None,
    on_ray: bool = False,
) -> RunDir:
    """Make an ensemble, or go on with it, and write the page about it, if it is not there.

    Raises:
        FinetuneAdvisorError: see `ensemble`.
    """
    folder = ensemble(runs, technique, out, device=device, watcher=watcher, on_ray=on_ray)
    if not folder.report.is_file():
        write_run_page(folder, device=device)
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
