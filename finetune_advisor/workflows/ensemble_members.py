"""The members of an ensemble: runs that are given, runs that are trained for it, moments of one run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from finetune_advisor.artifacts.answers import load_answers
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import change_recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.export import CONFIG_FILE, load_model, save_state
from finetune_advisor.backbones.stage_probe import POOLED
from finetune_advisor.backbones.trunk import feature_stages
from finetune_advisor.backbones.whitened import Whitened
from finetune_advisor.data.sources import open_recipe_source
from finetune_advisor.data.split_file import load_splits
from finetune_advisor.data.wording import counted
from finetune_advisor.data.workers import default_workers
from finetune_advisor.ensembles.answering import ask
from finetune_advisor.ensembles.judge import Part
from finetune_advisor.ensembles.members import Member
from finetune_advisor.errors import RunError
from finetune_advisor.inference import Predictor, model_folder
from finetune_advisor.techniques.ensembling import Checkpoints, Ensembling, Origin
from finetune_advisor.techniques.schedule import Constant, Cyclic
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.training.state import load_weights
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows.many import Job, train_all

log = logging.getLogger(__name__)

SNAPSHOT_RUN = "run"
"""Folder of the run that is trained for its moments, where the one given kept none."""


def members_of(
    runs: Sequence[RunDir],
    technique: Ensembling,
    recipe: Recipe,
    out: RunDir,
    *,
    device: str,
    watcher: Watcher,
    on_ray: bool = False,
) -> tuple[Member, ...]:
    """All members there can be, trained where they are lacking; finished ones are taken as they are.

    Args:
        recipe: the first run's, with `technique` in it.
        out: the folder of the ensemble; members that are trained for it go below `out.members`.
        on_ray: whether those are trained side by side on Ray.

    Raises:
        RunError: a run has no held-out answers, or kept too few moments.
        DataError: the images have changed since the first run.
    """
    if isinstance(technique, Checkpoints):
        return _moments(runs[0], technique, recipe, out, device=device, watcher=watcher)
    members = [finished(run) for run in runs]
    if len(runs) == 1:
        variants = technique.variants(_origin(recipe))
        jobs = [
            Job(change_recipe(recipe, {**each.edits, "ensemble": None}), out.members / each.name, runs[0].splits)
            for each in variants
        ]
        members += map(finished, train_all(jobs, device=device, watcher=watcher, on_ray=on_ray))
    if len(members) < 2:
        raise RunError(f"{technique.kind} needs at least two members, found {len(members)}.", "Name more runs.")
    return tuple(members)


def require_finished(run: RunDir) -> None:
    """Check that a run can be a member.

    Raises:
        RunError: it is not there, or has not finished.
    """
    model_folder(run)
    if not run.finished:
        raise RunError(f"The run in {run.path} has not finished.", f"Go on with it: {run.resume_command}")


def finished(run: RunDir) -> Member:
    """A finished run as a member.

    Raises:
        RunError: it has not finished, or left no answers on held-out images.
    """
    require_finished(run)
    return Member(run.path.name, run.path, run.model, load_answers(run.held_out))


def _origin(recipe: Recipe) -> Origin:
    strategy = recipe.strategy
    if not isinstance(strategy, LinearProbe | StageProbe):
        assert recipe.optimizer is not None, "checked by Recipe"
        return Origin(recipe.seed, recipe.optimizer.lr, None, ())
    stages = build(recipe.backbone.name, "random").stages
    places = (*(stage.name for stage in feature_stages(stages)), POOLED)
    if isinstance(strategy, LinearProbe):
        return Origin(recipe.seed, None, (POOLED,), places)
    return Origin(recipe.seed, None, places if strategy.stages == "all" else strategy.stages, places)


def _moments(
    run: RunDir, technique: Checkpoints, recipe: Recipe, out: RunDir, *, device: str, watcher: Watcher
) -> tuple[Member, ...]:
    """The checkpoints that a run kept on its way; one is trained for them where this one kept none."""
    if not _kept(run):
        recipe = _with_moments(recipe, technique)
        cycles = recipe.schedule.cycles if isinstance(recipe.schedule, Cyclic) else None
        # A run of the same length is judged as often: better told before it is trained than after.
        _require_two(len(technique.snapshots(len(run.load_history()), cycles)), "The same recipe would keep")
        job = Job(recipe, out.members / SNAPSHOT_RUN, run.splits)
        [run] = train_all([job], device=device, watcher=watcher)
    kept = _kept(run)
    _require_two(len(kept), f"{run.path} kept")
    folders = [_model_of(run, checkpoint, out.members / checkpoint.stem) for checkpoint in kept]
    predictor = Predictor.open(run)
    listing = open_recipe_source(recipe.data, warn=False)
    val = Part.of(listing, load_splits(run.splits), "val", predictor.classes)
    assert val is not None, "a run that trains layers has validation images"
    nets = [load_model(folder)[0].to(device) for folder in folders]
    asked = ask(nets, predictor.preprocess, val.paths, device=device, workers=default_workers())
    return tuple(
        Member(folder.parent.name, run.path, folder, val.answers(probabilities_NK))
        for folder, probabilities_NK in zip(folders, asked.probabilities_MNK, strict=True)
    )


def _require_two(checkpoints: int, who_keeps: str) -> None:
    if checkpoints < 2:
        raise RunError(
            f"{who_keeps} {counted(checkpoints, 'checkpoint')} on its way, expected at least 2.",
            "Run its recipe for more epochs than ensemble.members.",
        )


def _kept(run: RunDir) -> list[Path]:
    return sorted(run.snapshots.glob("step-*.safetensors"), key=lambda path: int(path.stem.removeprefix("step-")))


def _with_moments(recipe: Recipe, technique: Checkpoints) -> Recipe:
    """The recipe with a rate under which moments of one run differ: cyclic, unless it is so or constant already."""
    if isinstance(recipe.schedule, Cyclic | Constant):
        return recipe
    return change_recipe(recipe, {"schedule": {"kind": "cyclic", "cycles": technique.members}})


def _model_of(run: RunDir, checkpoint: Path, folder: Path) -> Path:
    """The network of a checkpoint as a model folder."""
    model = RunDir(folder).model
    if not (model / CONFIG_FILE).is_file():
        net, config = load_model(run.model)
        load_weights(net.net if isinstance(net, Whitened) else net, checkpoint)
        save_state(net, config, model)
    return model
