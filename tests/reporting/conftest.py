"""A placed profile with everything in it, and the pictures it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.metrics import score
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.diagnosis import Diagnosis, Edit, Finding
from finetune_advisor.records.ensemble import Cost, Ensemble, EnsembleMember, Gain
from finetune_advisor.records.health import (
    BadFile,
    BlankImage,
    FoldLeak,
    Health,
    ImageSizes,
    Imbalance,
    LabelSuspect,
    NearDuplicates,
    OddImage,
    Outlier,
    SplitLeak,
    Tones,
)
from finetune_advisor.records.history import Record
from finetune_advisor.records.predictions import Answer
from finetune_advisor.records.profile import (
    CurvePoint,
    Forecast,
    Neighbor,
    PowerLaw,
    Predicted,
    ProbeScore,
    Profile,
    Seconds,
    Similarity,
    Size,
    SplitCount,
    StageSimilarity,
    ViewEffect,
)
from finetune_advisor.reporting.analysis_page import Advised
from finetune_advisor.reporting.run_page import RunFacts

STAGES = ("stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5", "blocks.6")
MakeFull = Callable[..., Profile]


def splits_of(names: list[str]) -> dict[str, SplitCount]:
    """Counts of names like `train/ants/1.jpg`; names without a split count as training images."""
    counts: dict[str, dict[str, int]] = {}
    for name in names:
        split, label = name.split("/", 2)[:2]
        per_class = counts.setdefault(split, {})
        per_class[label] = per_class.get(label, 0) + 1
    return {split: SplitCount(images=sum(each.values()), per_class=each) for split, each in counts.items()}


def full_health(names: list[str], first: str, second: str) -> Health:
    """Health with every kind of finding; the names are used again and again."""
    n = (names * 40).__getitem__
    across = (tuple(names[:2]), tuple(names[2:4]))
    return Health(
        bad_files=(BadFile(path="train/cut.jpg", reason="it is cut short: the end of the file is missing"),),
        ignored_files=("train/Thumbs.db",),
        exact_duplicates=(*across, tuple(names[4:7])),
        near_duplicates=(NearDuplicates(images=(n(7), n(8)), correlation=0.973),),
        near_duplicates_unchecked=3,
        duplicates_across_splits=across[:1],
        split_leak=SplitLeak(groups=1, identical=1, splits=("train", "test"), images=1, example=across[0]),
        duplicates_across_classes=across[1:],
        label_suspects=tuple(
            LabelSuspect(
                path=n(9 + at), label=first, suggestion=second, label_probability=0.02, suggestion_probability=0.95
            )
            for at in range(15)
        ),
        outliers=(Outlier(path=n(25), label=second, distance=2.71),),
        odd_images=(
            OddImage(path=n(26), reason="12 times as wide as high"),
            OddImage(path="train/gone.jpg", reason="?"),
        ),
        blank_images=(BlankImage(path=n(27), reason="all black"),),
        tones=Tones(images=1200, dark=700, levels_images=50, few_levels=40, levels=16),
        sizes=ImageSizes(shorter_side=(230, 256, 256), aspect=(0.75, 1.33, 1.5), off_square=0.81),
        color_modes={"RGB": 1180, "L": 20},
        leak=FoldLeak(
            families=4,
            images_in_families=11,
            accuracy_alone=0.92,
            accuracy_together=0.88,
            suspicious=True,
            sign="7 % of the images have a neighbor nearer than any copy is.",
        ),
        imbalance=Imbalance(largest=first, smallest=second, ratio=4.2),
    )


def full_size() -> Size:
    power = PowerLaw(floor=0.06, scale=1.1, exponent=0.45)
    points = [(100, 0.79, 0.02), (200, 0.84, 0.013), (400, 0.87, 0.008), (800, 0.885, 0.006)]
    return Size(
        images=800,
        per_class=80,
        effective_classes=10,
        smallest_class=80,
        learning_curve=tuple(CurvePoint(images=images, accuracy=at, std=std) for images, at, std in points),
        power_law=power,
        forecast=Forecast(images=8000, accuracy=0.921, low=0.909, high=0.931),
        amount=0.36,
        verdict="little",
        threshold=0.5,
        counted_per_class=80,
        plenty_per_class=200,
    )


def full_similarity() -> Similarity:
    scores = (0.42, 0.8, 0.84, 0.84, 0.71, 0.69, 0.54, 0.46)
    return Similarity(
        score=0.722,
        low=0.711,
        high=0.732,
        early=0.79,
        late=0.66,
        per_stage=tuple(
            StageSimilarity(stage=stage, score=score, divergence=0.1)
            for stage, score in zip(STAGES, scores, strict=True)
        ),
        max_logit=7.4,
        entropy=3.8,
        verdict="different",
        threshold=0.85,
        confidence=0.99,
    )


def full_probes() -> tuple[ProbeScore, ...]:
    accuracies = (0.36, 0.46, 0.667, 0.74, 0.792, 0.873, 0.868, 0.868, 0.875, 0.895)
    return tuple(
        ProbeScore(stage=stage, accuracy=accuracy, std=0.011, log_loss=0.4, strength=1e-3)
        for stage, accuracy in zip((*STAGES, "pooled", "all"), accuracies, strict=True)
    )


def full_views() -> tuple[ViewEffect, ...]:
    values = {
        "horizontal_flip": (0.889, 0.893),
        "vertical_flip": (0.84, 0.872),
        "gray": (0.81, 0.86),
        "pad": (0.88, 0.91),
        "small": (0.6, 0.83),
    }
    return tuple(
        ViewEffect(
            view=view,
            images=400,
            accuracy=0.89,
            transferred=transferred,
            refitted=refitted,
            std=0.006,
            transferred_std=0.007,
        )
        for view, (transferred, refitted) in values.items()
    )


def full_profile(
    names: list[str], *, data: str = "photos/textures", first: str = "banded", second: str = "dotted"
) -> Profile:
    """A profile with nothing left out, of images with these names."""
    splits = splits_of(names)
    classes = tuple(sorted({label for count in splits.values() for label in count.per_class}))
    return Profile(
        data=data,
        backbone="tf_efficientnet_lite0",
        weights="bundled",
        size_px=224,
        seed=0,
        validation=0.2,
        images=len(names),
        classes=classes,
        splits=splits,
        health=full_health(names, first, second),
        size=full_size(),
        similarity=full_similarity(),
        probes=full_probes(),
        views=full_views(),
        cell="stage_probe",
        confidence=0.83,
        neighbors=(
            Neighbor(
                cell="many_layers", probability=0.14, decides="200 more images a class would tip it to many_layers."
            ),
        ),
        seconds=Seconds(listing=0.2, images=12.1, probes=3.4, total=15.9),
    )


def advice_on(profile: Profile, *, recipe_yaml: str | None = None) -> Advised:
    return Advised(
        strategy="stage_probe",
        chosen_stages=("all",),
        expected=Predicted(
            accuracy=0.895, low=0.872, high=0.914, basis="a linear classifier (all) on held-out folds", majority=0.333
        ),
        why=(
            "800 images in 10 classes: 80 a class, little (plenty begins at 200).",
            "Different from ImageNet: score 0.72 [0.71, 0.73], similar begins at 0.85.",
            f"So linear classifiers at stages for {Path(profile.data).name}.",
        ),
        cells={
            ("little", "similar"): "linear_probe",
            ("little", "different"): "stage_probe",
            ("plenty", "similar"): "few_layers",
            ("plenty", "different"): "many_layers",
        },
        meanings={
            "linear_probe": "a linear classifier on top",
            "stage_probe": "linear classifiers at stages",
            "few_layers": "fine-tune a few layers",
            "many_layers": "fine-tune many layers",
        },
        recipe_yaml=recipe_yaml
        or '# A recipe.\n\nname: "a # b"\nstrategy:\n  # because of this\n  stages: all  # or a list\n',
        seconds=41.0,
    )


class Hostile:
    """Names that try to leave the text they stand in."""

    folder = '<script>document.title="x"</script>'
    second = '"><img src=x onerror=document.title=1>'
    third = "[red]{{ 7 * 7 }}\n\x1b[31m\u202egpj.exe" + "é" * 300
    names = tuple(
        f"{split}/{label}/{n}'&<b>.jpg"
        for label in (folder, second, third)
        for n in range(4)
        for split in ("train", "test")
    )


@pytest.fixture
def names() -> list[str]:
    labels = ("banded", "dotted", "woven")
    return [f"{split}/{label}/{n}.jpg" for n in range(5) for split in ("train", "test") for label in labels]


@pytest.fixture
def full(names: list[str]) -> Profile:
    """A profile with nothing left out."""
    return full_profile(names)


@pytest.fixture
def hostile() -> Profile:
    """The same with names that were made to break out of HTML, of markup and of a terminal."""
    return full_profile(list(Hostile.names), data=f"/data/{Hostile.folder}", first=Hostile.second, second=Hostile.third)


@pytest.fixture
def bare(full: Profile) -> Profile:
    """A placed profile in which whatever may be missing is missing."""
    health = Health(
        bad_files=(),
        ignored_files=(),
        exact_duplicates=(),
        duplicates_across_splits=(),
        duplicates_across_classes=(),
        imbalance=Imbalance(largest="banded", smallest="dotted", ratio=1.0),
    )
    size = Size(images=800, per_class=80, effective_classes=10, smallest_class=80, verdict="little", threshold=200)
    similarity = full.similarity.model_copy(update={"per_stage": (), "confidence": None})
    empty = {"views": (), "confidence": None, "neighbors": (), "probes": full.probes[-2:]}
    splits = {"train": SplitCount(images=800, per_class={})}
    return full.model_copy(update={**empty, "health": health, "size": size, "similarity": similarity, "splits": splits})


@pytest.fixture
def advise() -> Callable[..., Advised]:
    """What `advice` would say of a profile."""
    return advice_on


@pytest.fixture
def pictures(tmp_path: Path, full: Profile, hostile: Profile) -> dict[str, Path]:
    """A file for every image of both profiles, under harmless names."""
    found = {}
    used = [group for profile in (full, hostile) for group in profile.health.exact_duplicates]
    for number, name in enumerate({name for group in used for name in group} | {"train/banded/0.jpg"}):
        found[name] = tmp_path / f"{number}.jpg"
        Image.new("RGB", (300, 200), (20 * number % 255, 90, 120)).save(found[name])
    return found


def run_facts_of(names: list[str], classes: tuple[str, str, str], *, path: Path, picture: bool = True) -> RunFacts:
    """Everything a run's page is made of; of three images of a class one is wrong."""
    answers = [
        Answer(name, classes[at % 3], classes[(at + (at % 4 == 0)) % 3], 0.4 + 0.59 * (at * 7 % 11) / 11)
        for at, name in enumerate(names)
    ]
    labels = np.array([classes.index(one.label) for one in answers])
    chosen = np.array([classes.index(one.prediction) for one in answers])
    probabilities = np.full((len(names), 3), 0.1)
    probabilities[np.arange(len(names)), chosen] = 0.8
    scores = score(probabilities, labels, classes)
    records = tuple(
        Record(
            step=7 * epoch,
            epoch=float(epoch),
            lr={"head": 3e-3 / epoch, "head_norm_bias": 3e-3 / epoch, "body": 3e-4 / epoch},
            train_loss=1.0 / epoch,
            train_accuracy=1 - 0.5 / epoch,
            val_loss=None if epoch == 3 else 1.2 / epoch,
            val_accuracy=0.9 - 0.4 / epoch,
            images_per_second=50.0,
            seconds=9.0 * epoch,
            update_ratio={"head": 0.1 / epoch, "body": 2e-3 / epoch},
        )
        for epoch in range(1, 7)
    )
    finding = Finding(
        sign="overfitting",
        title="Big gap",
        evidence="1.000 on training images, 0.857 on validation images",
        meaning="By heart.",
        names=classes,
        edits=(Edit(key="regularization", value=[{"kind": "dropout", "rate": 0.3}], reason="big gap"),),
    )
    square = Image.new("RGB", (96, 96), (200, 120, 40))
    return RunFacts(
        path=path,
        recipe=load_recipe("few_layers", [f"data.path={names[0]}"]),
        recipe_yaml="# why\nname: few_layers\n",
        metrics={
            "val": scores,
            "test": scores,
            "val_is": "held out",
            "recipe": "few_layers",
            "classes": list(classes),
            "seconds": {"images": 3.0, "training": 50.0, "total": 53.0},
        },
        records=records,
        answers=answers,
        diagnosis=Diagnosis(run="run", finished=True, healthy="", findings=(finding,), unseen=("the weights: gone",)),
        environment={"python": "3.12", "packages": {"torch": "2.6"}, "command": ["run", classes[0]]},
        why=("Little data, different from ImageNet.",),
        looks=dict.fromkeys(names, (square, square)) if picture else {},
        filters=Image.new("RGBA", (40, 20)),
    )


@pytest.fixture
def run_facts(names: list[str]) -> RunFacts:
    """A fine-tuning with nothing left out."""
    return run_facts_of(names, ("banded", "dotted", "woven"), path=Path("runs/textures-1"))


@pytest.fixture
def hostile_run() -> RunFacts:
    """The same with names that were made to break out."""
    classes = (Hostile.folder, Hostile.second, Hostile.third)
    return run_facts_of(list(Hostile.names), classes, path=Path("runs") / "a'&<b>")


def as_ensemble(facts: RunFacts, best: str) -> RunFacts:
    """The same answers, as those of two members of three."""
    members = tuple(
        EnsembleMember(name=name, source=f"runs/{at}", weight=weight, accuracy=0.9 - 0.01 * at, log_loss=0.3)
        for at, (name, weight) in enumerate(((best, 0.25), ("left-out", 0.0), ("rate-3", 0.75)))
    )
    gain = {"accuracy": 0.76, "best_accuracy": 0.74, "gain": 0.02, "low": -0.01, "high": 0.05}
    ensemble = Ensemble(
        kind="cross_validation",
        settings={"kind": "cross_validation"},
        held_out=245,
        members=members,
        gain=Gain(split="test", images=30, best=best, **gain),
        cost=Cost(seconds=0.03, best_seconds=0.02, times=1.5),
    )
    metrics = {**facts.metrics, "recipe": "ensemble: cross_validation", "val_is": "members were chosen on it"}
    return replace(facts, ensemble=ensemble, metrics=metrics, records=(), why=())


@pytest.fixture
def ensemble_facts(run_facts: RunFacts) -> RunFacts:
    """An ensemble of two members of three."""
    return as_ensemble(run_facts, "rate-1")


@pytest.fixture
def hostile_ensemble(hostile_run: RunFacts) -> RunFacts:
    """The same with a member whose name was made to break out."""
    return as_ensemble(hostile_run, Hostile.second)


@pytest.fixture
def bare_run(names: list[str]) -> RunFacts:
    """A probe without test images, whose folder holds only what it must."""
    facts = run_facts_of(names, ("banded", "dotted", "woven"), path=Path("runs/textures-2"), picture=False)
    records = tuple(
        Record(n, 0.0, None, None, None, 0.5, 0.8, None, 1.0, strength=10.0**-n, chosen=n == 3) for n in range(1, 6)
    )
    metrics = {**facts.metrics, "test": None, "val_is": "out of fold", "recipe": "linear_probe"}
    return replace(facts, metrics=metrics, records=records, diagnosis=None, environment={}, why=(), filters=None)
