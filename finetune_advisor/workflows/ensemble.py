"""Runs become an ensemble: those that are lacking are trained, members are chosen, the gain is measured."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.export import CONFIG_FILE, described, load_model, save_model, save_state
from finetune_advisor.backbones.frozen import feature_stages
from finetune_advisor.backbones.wrappers.stage_probe import POOLED
from finetune_advisor.backbones.wrappers.whitened import Whitened
from finetune_advisor.ensembles.choose import Part, gain_of, judge, ranking
from finetune_advisor.ensembles.combine import Combined, combine
from finetune_advisor.ensembles.members import HeldOut, Member, ask, shared_held_out
from finetune_advisor.errors import FinetuneAdvisorError, Interrupted, RunError
from finetune_advisor.images.sources import open_recipe_source
from finetune_advisor.images.split import group_ids, load_groups, load_splits
from finetune_advisor.inference.predictor import Predictor, model_folder
from finetune_advisor.metrics import leak_scores, log_loss, score
from finetune_advisor.processes import default_workers
from finetune_advisor.recipes.load import change_recipe, dump_recipe, load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.ensemble import Ensemble, EnsembleMember
from finetune_advisor.records.environment import environment
from finetune_advisor.records.predictions import Answers, load_answers, save_answers, save_predictions
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.storage.files import atomic_path, atomic_write, load_json, save_json
from finetune_advisor.techniques.ensembling import Checkpoints, Ensembling, Origin
from finetune_advisor.techniques.schedule import Constant, Cyclic
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.text import counted
from finetune_advisor.training.state import load_weights
from finetune_advisor.training.trainer import describe
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows.parallel import Job, train_all

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


@dataclass(frozen=True)
class _Task:
    """What is asked for, and the images of the first run, which the others share."""

    runs: tuple[RunDir, ...]
    technique: Ensembling
    recipe: Recipe
    out: RunDir
    device: str
    watcher: Watcher
    on_ray: bool

    def parts(self, classes: Sequence[str]) -> tuple[Part | None, Part | None]:
        """Those of validation and of test."""
        listing = open_recipe_source(self.recipe.data)
        saved = load_splits(self.runs[0].splits)
        val, test = (Part.of(listing, saved, split, classes, groups=self.groups) for split in ("val", "test"))
        return val, test

    @cached_property
    def groups(self) -> Mapping[str, str]:
        """The group of each image that the first run found near-duplicates of, or that the user gave one."""
        return load_groups(self.runs[0].splits)


def ensemble(
    runs: Sequence[RunDir],
    technique: Ensembling,
    out: RunDir | None = None,
    *,
    device: str = "cpu",
    watcher: Watcher | None = None,
    on_ray: bool = False,
) -> RunDir:
    """Make an ensemble of finished runs: a folder that `predict`, `evaluate` and `export` take like a run.

    Of one run the further members are trained, with its split; several runs are the members, and nothing is trained.
    Members are chosen and weighted by their answers on held-out images, the gain over the best of them is measured on
    the test images, or where there are none on validation. Asked again, it goes on where it was.

    Args:
        runs: finished; the first one's recipe and split count.
        technique: what becomes one, and how.
        out: where to write; None is beside the first run.
        device: torch device.
        watcher: told about the runs that are trained.
        on_ray: whether they are trained side by side on Ray, which must be installed.

    Raises:
        RecipeError: members of this kind would be identical.
        RunError: a run has not finished, or the members do not agree; or `out` holds something else.
        DataError: the images are gone or have changed.
        Interrupted: asked again, it goes on.
    """
    runs = tuple(runs)
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise RunError("A run is named twice.", "An ensemble takes each of its members once.")
    for run in runs:
        require_finished(run)
    recipe = change_recipe(load_recipe(runs[0].recipe), {"ensemble": technique.model_dump()})
    if len(runs) > 1 and isinstance(technique, Checkpoints):
        raise RunError(f"{technique.kind} is made of one run, {len(runs)} are given.", "Name one.")
    out = out or RunDir(runs[0].path.with_name(f"{runs[0].path.name}-{technique.kind}"))
    with _claimed(out, _plan(runs, technique)) as finished_before:
        if not finished_before:
            _make(_Task(runs, technique, recipe, out, device, watcher or Watcher(), on_ray))
    return out


@contextmanager
def _claimed(out: RunDir, plan: dict[str, Any]) -> Iterator[bool]:
    """The folder, with other writers kept out; tells whether it is finished."""
    if not out.plan.is_file():
        out.require_free()
        out.path.mkdir(parents=True, exist_ok=True)
    with out.locked():
        if not out.plan.is_file():
            save_json(out.plan, plan)
        elif load_json(out.plan, f"{out.path} holds no ensemble") != plan:
            raise RunError(
                f"{out.path} holds another ensemble, of other runs or settings.",
                "Choose another folder: -o OUT.",
            )
        try:
            yield out.finished
        except (KeyboardInterrupt, Interrupted) as stopped:
            raise Interrupted(
                "Stopped before the ensemble was finished; members that are trained are kept.",
                "The same command again goes on.",
            ) from stopped
        except FinetuneAdvisorError:
            if not out.members.exists():
                out.plan.unlink()  # nothing is lost, and the folder is free for what was meant
            raise


def _plan(runs: Sequence[RunDir], technique: Ensembling) -> dict[str, Any]:
    settings = technique.model_dump(mode="json")
    return {"runs": [str(run.path.resolve()) for run in runs], "ensemble": settings}


def _make(task: _Task) -> None:
    start = perf_counter()
    members = members_of(
        task.runs,
        task.technique,
        task.recipe,
        task.out,
        device=task.device,
        watcher=task.watcher,
        on_ray=task.on_ray,
    )
    held_out = shared_held_out(members)
    classes = members[0].held_out.classes
    val, test = task.parts(classes)
    if test is None:
        log.warning(
            "there is no test split: the gain is measured on the images that members were chosen by, and too good"
        )

    combined = combine(task.technique, members, held_out)
    best = ranking(held_out.probabilities_MNK, held_out.labels_N)[0]
    alone = Predictor.of_model(members[best].model)
    part = test or val
    assert part is not None, "a run without validation images has test images"
    judged = judge(part, (combined.net, combined.preprocess), (alone.net, alone.preprocess), device=task.device)
    mean_NK = (combined.weight_M[:, None, None] * held_out.probabilities_MNK).sum(0)
    chosen_on = Answers(held_out.names, classes, held_out.labels_N, mean_NK)
    family_N = part.family_N
    if test is None:
        judged = replace(judged, answers=chosen_on, best_NK=held_out.probabilities_MNK[best])
        family_N = group_ids(chosen_on.names, task.groups)
    gain = gain_of(part.split, judged.answers, judged.best_NK, best=members[best].name, family_N=family_N)
    ensemble_ = Ensemble(
        kind=task.technique.kind,
        settings=task.technique.model_dump(mode="json"),
        held_out=len(held_out.names),
        members=_described(members, combined, held_out),
        gain=gain,
        cost=judged.cost,
    )
    _save(task, combined, ensemble_, judged.answers, chosen_on, perf_counter() - start)


def _save(
    task: _Task, combined: Combined, ensemble_: Ensemble, found: Answers, chosen_on: Answers, seconds: float
) -> None:
    """Everything a run folder has that is used later; metrics.json last, for it says that this is finished."""
    out, recipe = task.out, task.recipe
    save_model(
        combined.net.to(torch.device("cpu")),
        out.model,
        architecture=combined.architecture,
        classes=found.classes,
        preprocessing=described(combined.preprocess),
        details={
            "preprocessing": asdict(combined.preprocess),
            "backbone": recipe.backbone.model_dump(),
            "strategy": recipe.strategy.kind,
            "recipe": recipe.name,
            "ensemble": ensemble_.settings,
        },
        model_args=combined.model_args,
    )
    save_predictions(out.predictions, found.classes, found.names, found.labels_N, found.probabilities_NK)
    save_answers(out.held_out, chosen_on)
    ensemble_.save(out.ensemble)
    save_json(out.environment, environment(describe(task.device)))
    for kept, copy in ((task.runs[0].splits, out.splits), (task.runs[0].training_images, out.training_images)):
        if kept.is_file():  # runs of earlier versions remember no training images
            with atomic_path(copy) as temporary:
                shutil.copyfile(kept, temporary)
    atomic_write(out.recipe, dump_recipe(recipe))
    save_json(
        out.metrics,
        {
            "val": _scores(task, chosen_on, "val"),
            "test": _scores(task, found, "test") if ensemble_.gain.split == "test" else None,
            "val_is": "members were chosen on it",
            "recipe": f"ensemble: {ensemble_.kind}",
            "name": recipe.name,
            "classes": list(found.classes),
            "bad_files": {},
            "seconds": {"images": 0.0, "training": seconds, "total": seconds},
        },
    )


def _scores(task: _Task, answers: Answers, split: str) -> dict[str, object]:
    """The block of metrics.json, with a leak where a run that it is made of has one."""
    group_N = group_ids(answers.names, task.groups)
    hit_N = answers.probabilities_NK.argmax(1) == answers.labels_N
    blocks = [run.load_metrics()[split] or {} for run in task.runs]
    leaked = {name for block in blocks for name in (block.get("leak") or {}).get("paths", ())}
    leak = leak_scores(hit_N, answers.names, leaked, group_N=group_N)
    if leak is not None:
        leak["own_groups"] = any((block.get("leak") or {}).get("own_groups") for block in blocks)
    if leak is None and split == "test" and any("leak" not in block for block in blocks):
        leak = {"not_checked": "a member is of an earlier version, which did not look"}
    return {**score(answers.probabilities_NK, answers.labels_N, answers.classes, group_N=group_N), "leak": leak}


def _described(members: Sequence[Member], combined: Combined, held_out: HeldOut) -> tuple[EnsembleMember, ...]:
    described_ = []
    for place, (member, weight) in enumerate(zip(members, combined.weight_M.tolist(), strict=True)):
        probabilities_NK, labels_N = held_out.probabilities_MNK[place], held_out.labels_N
        described_.append(
            EnsembleMember(
                name=member.name,
                source=str(Path(member.source)),
                weight=weight,
                accuracy=float((probabilities_NK.argmax(1) == labels_N).mean()),
                log_loss=log_loss(probabilities_NK, labels_N),
            )
        )
    return tuple(described_)
