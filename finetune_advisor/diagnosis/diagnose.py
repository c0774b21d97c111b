"""The verb: Run -> Diagnosis."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_advisor.diagnosis.curves import Case, tail
from finetune_advisor.diagnosis.fit_signs import (
    over_confident,
    overfitting,
    plateau,
    refit_astray,
    refit_told,
    still_improving,
    underfitting,
)
from finetune_advisor.diagnosis.network_signs import (
    dead_units,
    label_suspects,
    large_updates,
    measure_weights,
    never_predicted,
    noisy_filters,
    noisy_loss,
    small_updates,
    strength_at_the_edge,
)
from finetune_advisor.diagnosis.rate_signs import rate_too_high, rate_too_low, too_few_evaluations
from finetune_advisor.errors import BackboneError, DataError, RunError
from finetune_advisor.images.split import SavedSplits, load_splits
from finetune_advisor.recipes.load import change_recipe, dump_recipe, load_recipe, recipe_for_file
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.diagnosis import Diagnosis, Finding
from finetune_advisor.records.facts import legible
from finetune_advisor.records.metrics import leak_sentence
from finetune_advisor.records.profile import Profile
from finetune_advisor.records.rundir import RunDir

log = logging.getLogger(__name__)

SignFunction = Callable[[Case], Finding | None]

FIRST: tuple[SignFunction, ...] = (rate_too_high, too_few_evaluations, rate_too_low)
"""The first of these that is seen is the only thing said of the curves: it would distort everything else."""

FURTHER: tuple[SignFunction, ...] = (
    overfitting,
    over_confident,
    underfitting,
    still_improving,
    plateau,
    noisy_loss,
    large_updates,
    small_updates,
    never_predicted,
)
ALWAYS: tuple[SignFunction, ...] = (dead_units, noisy_filters, label_suspects, strength_at_the_edge)


def diagnose(run: RunDir, *, images: Sequence[Path] = (), device: str = "cpu") -> Diagnosis:
    """Read the curves and the weights of a run.

    A run that did not finish is read as far as it came.

    Args:
        run: its folder.
        images: some validation images, to see which units answer to them; without any that is left out.
        device: torch device.

    Raises:
        RunError: there is no run, an ensemble, or one without a single evaluation; or what it wrote is damaged.
        RecipeError, DataError: its recipe or its list of images is missing or damaged.
    """
    case, unseen = case_of(run)
    if case.val is not None and case.trains:
        try:
            case = replace(case, weights=measure_weights(run, case.recipe, images, device=device))
        except (RunError, BackboneError, DataError) as problem:
            unseen = (*unseen, f"the weights: {problem.message}")
            log.info("the weights are not looked at: %s", problem.message)
    return Diagnosis(
        run=legible(str(run.path)),
        finished=case.val is not None,
        healthy=_healthy(case),
        findings=tuple(findings(case)),
        leak=case.leak,
        refit=refit_told(case),
        unseen=unseen,
    )


def findings(case: Case) -> Iterator[Finding]:
    """What is seen, most important first."""
    first = next((found for found in (sign(case) for sign in FIRST) if found), None)
    further = () if first else FURTHER
    yield from filter(None, (first, *(sign(case) for sign in (refit_astray, *further, *ALWAYS))))


def case_of(run: RunDir) -> tuple[Case, tuple[str, ...]]:
    """What a run's files say, the weights aside, and what could not be read.

    Raises:
        RunError, RecipeError, DataError: see `diagnose`.
    """
    if run.is_ensemble:
        members = ", ".join(shlex.quote(str(member.path)) for member in run.load_members())
        raise RunError(
            f"{run.path} is an ensemble, which has no curves of its own.",
            f"Its members have some: `finetune-advisor diagnose RUN`, where RUN is one of {members}.",
        )
    run.require_folder()
    if not run.recipe.is_file():
        raise RunError(f"{run.path} is no run: it holds no {run.recipe.name}.", "Name the folder of a run.")
    recipe, records = load_recipe(run.recipe), run.load_history()
    metrics = run.load_metrics() if run.finished else None
    if not records and metrics is None:
        raise RunError(
            f"{run.path} holds no evaluation yet: {run.history.name} is missing or empty.",
            run.hint_to_finish,
        )
    splits: SavedSplits = load_splits(run.splits) if metrics is None or run.splits.is_file() else {}
    val = metrics["val"] if metrics is not None else None
    suspects, unseen = _suspects(run, splits)
    if metrics is None:
        unseen = ("scores and weights: the run has not finished", *unseen)
    elif not records and recipe.strategy.trains_network:
        unseen = (f"the curves: {run.history.name} is missing or empty", *unseen)
    refit = run.refit.load_history() if recipe.evaluation.refit else ()
    if recipe.evaluation.refit and not refit and metrics is not None:
        unseen = (*unseen, f"the training on all images: refit/{run.refit.history.name} is missing or empty")
    classes = metrics["classes"] if metrics is not None else sorted({label for label, _ in splits.values()})
    count = val["images"] if val is not None else sum(split == "val" for _, split in splits.values())
    leak = None if metrics is None else _leak(metrics)
    return Case(recipe, records, tuple(classes), count, val, suspects=suspects, refit=refit, leak=leak), unseen


def _leak(metrics: Mapping[str, Any]) -> str | None:
    """Of the test images; of validation images where there is no test."""
    name = "test" if metrics["test"] is not None else "validation"
    return leak_sentence(metrics["test"] or metrics["val"], f"{name} images", way_out=True)


def edited_recipe(run: RunDir, diagnosis: Diagnosis, folder: Path | None = None) -> str:
    """The run's recipe with every edit of its diagnosis, as YAML with the reasons above the lines.

    Args:
        folder: of the file that it is written to, which its paths are relative to; None: where one stands.

    Raises:
        RunError: the diagnosis asks for no edit.
        RecipeError: the recipe is missing, or cannot be edited so.
    """
    edits = diagnosis.edits
    if not edits:
        raise RunError(f"Nothing in the recipe of {run.path} needs an edit: {diagnosis.verdict}")
    recipe: Recipe = change_recipe(load_recipe(run.recipe), {key: edit.value for key, edit in edits.items()})
    recipe = recipe if folder is None else recipe_for_file(recipe, folder)
    reasons = {key: edit.reason for key, edit in edits.items()}
    return dump_recipe(recipe, reasons=reasons, header=f"{run.path.name}, edited by its diagnosis: {diagnosis.verdict}")


def _suspects(run: RunDir, splits: SavedSplits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Images of the trainable splits that the analysis doubts, and what could not be read."""
    if not run.profile.is_file():
        return (), ()
    try:
        profile = Profile.load(run.profile)
    except DataError as problem:
        return (), (f"label suspects: {problem.message}",)
    tested = {legible(name) for name, (_, split) in splits.items() if split == "test"}
    return tuple(one.path for one in profile.health.label_suspects if one.path not in tested), ()


def _healthy(case: Case) -> str:
    if case.val is not None and not case.trains:
        return f"Nothing to mend: accuracy {case.val['accuracy']:.3f} out of fold."
    if not len(case.curves):
        return "Nothing was seen."
    train, val = tail(case.curves.train_accuracy_T).mean(), tail(case.curves.val_accuracy_T).mean()
    when = "in the end" if case.val is not None else f"so far, at {case.reached(case.records[-1])}"
    return f"Nothing to mend: accuracy {train:.3f} on training images, {val:.3f} on validation images {when}."
