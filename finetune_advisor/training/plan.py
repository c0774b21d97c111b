"""What a run would do, without doing it: for `run --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import torch

from finetune_advisor.backbones.devices import synchronize
from finetune_advisor.backbones.sizing import sizing_remarks
from finetune_advisor.backbones.wrappers.stage_probe import POOLED
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import LayerSignal
from finetune_advisor.techniques.strategy import FromScratch, LinearProbe, StageProbe
from finetune_advisor.training.network import Setup, set_up
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.probe import probe_stages
from finetune_advisor.training.watch import Watcher

TIMED_STEPS = 2


@dataclass(frozen=True)
class PlannedGroup:
    """Parameters with one fate."""

    name: str
    stages: tuple[str, ...]
    tensors: int
    parameters: int
    lr: float | None
    """Peak rate; None when frozen, and for probes, which are fitted in one go."""
    decays: bool
    trains_after_epoch: int | None
    """Epochs that are done when it begins to train: 0 from the start, None never."""


@dataclass(frozen=True)
class Plan:
    """What a run would do and take."""

    strategy: str
    backbone: str
    images: dict[str, int]
    classes: int
    groups: tuple[PlannedGroup, ...]
    steps: int | None
    """None for probes, and for a budget in minutes: they are timed when the run begins."""
    steps_per_epoch: int | None
    features: int | None
    """Inputs of a probe's classifier."""
    cached: str
    seconds: float | None
    """Expected, from steps timed on this machine with everything unfrozen; None for probes, which take seconds."""
    signal: tuple[LayerSignal, ...]
    """How the outputs of each layer vary before training; empty where the weights are pretrained."""
    sizing: tuple[str, ...]
    """What does not fit in the sizes of a network that is trained from scratch."""
    memory_mib: float | None
    """Of parameters, gradients and optimizer, without activations."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def plan_run(recipe: Recipe, *, device: str) -> Plan:
    """Look at the images and build the network, but train nothing and write nothing but the cache.

    Raises:
        DataError, BackboneError: as the run would.
    """
    prepared = prepare(recipe, device=device, watcher=Watcher())
    data = prepared.data
    images = {split: len(index_N) for split in ("train", "val", "test") if len(index_N := data.index(split))}
    name, strategy = recipe.backbone.name, recipe.strategy
    if isinstance(strategy, LinearProbe | StageProbe):
        features = data.features[0]
        stages = probe_stages(strategy, features.stages) or (POOLED,)
        width = features.concatenated(stages).shape[1]
        new = PlannedGroup(
            "classifier", stages, 2, (width + 1) * len(data.classes), None, decays=True, trains_after_epoch=0
        )
        cached = "the features of every image: the network is not run again"
        return Plan(
            strategy.kind, name, images, len(data.classes), (new,), None, None, width, cached, None, (), (), None
        )
    setup = set_up(prepared, device=device)
    minutes = setup.budget.minutes
    return Plan(
        strategy=strategy.kind,
        backbone=name,
        images=images,
        classes=len(data.classes),
        groups=_groups(setup),
        steps=None if minutes else setup.method.steps,
        steps_per_epoch=setup.plan.steps_per_epoch,
        features=None,
        cached=setup.cached,
        signal=setup.signal,
        sizing=sizing_remarks(setup.backbone) if isinstance(strategy, FromScratch) else (),
        seconds=minutes * 60 if minutes else _expected_seconds(setup),
        memory_mib=_memory_mib(setup),
    )


def _groups(setup: Setup) -> tuple[PlannedGroup, ...]:
    trained = [
        PlannedGroup(group.name, group.stages, len(group.parameters), group.size, group.lr, group.decays, group.epoch)
        for group in setup.groups
    ]
    return (*trained, *_frozen(setup))


def _frozen(setup: Setup) -> Iterator[PlannedGroup]:
    """What never trains, as one group."""
    trained = {name for group in setup.groups for name, _ in group.parameters}
    never = {n: p.numel() for n, p in setup.backbone.net.named_parameters() if n not in trained}
    if never:
        stages = tuple(stage.name for stage in setup.backbone.stages if never.keys() & set(stage.parameters))
        yield PlannedGroup(
            "frozen", stages, len(never), sum(never.values()), None, decays=False, trains_after_epoch=None
        )


def _expected_seconds(setup: Setup) -> float:
    """Time a few steps on the first images; decoding runs beside them and is not timed."""
    net, method = setup.backbone.net, setup.method
    inputs = next(iter(setup.feed.evaluation("train"))).to(method.device)
    labels_B = torch.zeros(len(inputs), dtype=torch.long, device=method.device)
    net.eval()
    synchronize(method.device)
    start = perf_counter()
    for _ in range(TIMED_STEPS):
        with method.autocast():
            logits_BK = setup.feed.forward(inputs)
            loss = method.loss.per_image(logits_BK.float(), labels_B, method.class_weight_K).mean()
        loss.backward()
    synchronize(method.device)
    seconds = (perf_counter() - start) / TIMED_STEPS
    net.zero_grad(set_to_none=True)
    images = setup.images
    turns = 2 + images["val"] / images["train"] if setup.recipe.evaluation.refit else 1
    return seconds * method.steps * turns


def _memory_mib(setup: Setup) -> float:
    """Parameters once; gradient and two moments for each that trains."""
    scalars = sum(p.numel() for p in setup.backbone.net.parameters()) + 3 * sum(group.size for group in setup.groups)
    return scalars * 4 / 2**20
