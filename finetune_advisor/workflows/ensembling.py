"""Runs become an ensemble: those that are lacking are trained, members are chosen, what it gains is measured."""

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

from finetune_advisor.artifacts.answers import Answers, save_answers
from finetune_advisor.artifacts.ensemble import Ensemble, EnsembleMember
from finetune_advisor.artifacts.environment import environment
from finetune_advisor.artifacts.json_file import load_json, save_json
from finetune_advisor.artifacts.predictions import save_predictions
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import change_recipe, dump_recipe, load_recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.artifacts.storage import atomic_path, atomic_write
from finetune_advisor.backbones.export import described, save_model
from finetune_advisor.data.sources import open_recipe_source
from finetune_advisor.data.split_file import group_ids, load_groups, load_splits
from finetune_advisor.ensembles.choose import ranking
from finetune_advisor.ensembles.combine import Combined, combine
from finetune_advisor.ensembles.judge import Part, gain_of, judge
from finetune_advisor.ensembles.members import HeldOut, Member, shared_held_out
from finetune_advisor.errors import FinetuneAdvisorError, Interrupted, RunError
from finetune_advisor.inference import Predictor
from finetune_advisor.metrics import leak_scores, log_loss, score
from finetune_advisor.techniques.ensembling import Checkpoints, Ensembling
from finetune_advisor.training.device import describe
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows.ensemble_members import members_of, require_finished

log = logging.getLogger(__name__)


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
