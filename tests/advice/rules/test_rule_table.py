"""The rules as a table: facts of a profile -> a key of the recipe -> its value, and what the reason says.

Every technique that is ever advised stands in a row with the facts that lead to it, and beside the facts that do not;
every other technique says why not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from finetune_advisor.advice.advise import Advice, advise
from finetune_advisor.records.health import ImageSizes
from finetune_advisor.records.profile import Cell, Profile, View, ViewEffect
from finetune_advisor.techniques.base import Settings, Technique
from finetune_advisor.techniques.catalog import families, kind_of

ABSENT = "not in the list"

FEW, PLENTY = 49, 900
"""Images a class: few enough for a fitted start of the classifier, and plenty."""
HUGE = 25_000
"""So many that training ends after four epochs."""
WIDE = ImageSizes(shorter_side=(200, 256, 300), aspect=(0.7, 1.5, 1.9), off_square=0.8)
TINY = ImageSizes(shorter_side=(28, 32, 32), aspect=(1.0, 1.0, 1.0), off_square=0.0)
NO_UP: Mapping[View, tuple[float, float]] = {"horizontal_flip": (0.0, 0.0), "vertical_flip": (0.0, 0.0)}


@dataclass(frozen=True)
class Row:
    """What is expected of the recipe for these facts."""

    facts: Mapping[str, Any]
    """Arguments of the factory of profiles."""
    key: str
    """Dotted; items of a list by their kind."""
    value: Any
    says: str = ""
    """Part of the reason; empty where there is none, because the shipped recipe's value stays."""
    views: Mapping[View, tuple[float, float]] = field(default_factory=dict)
    """View -> what it does to the accuracy of a probe as it is, and fitted again; standard error 1 point."""
    cell: Cell | None = None
    """Whose recipe is asked for; None is the table's."""
    above: str = ""
    """The key whose reason it is, where that is not the key itself."""


LITTLE_ALIKE, LITTLE_OTHER = {"per_class": 50, "score": 0.95}, {"per_class": 50, "score": 0.3}
MUCH_ALIKE, MUCH_OTHER = {"per_class": PLENTY, "score": 0.95}, {"per_class": PLENTY, "score": 0.3}

ROWS = (
    # strategy: the four cells
    Row(LITTLE_ALIKE, "strategy.kind", "linear_probe", "fewer than the 200", above="strategy"),
    Row(LITTLE_OTHER, "strategy.kind", "stage_probe", "below 0.93", above="strategy"),
    Row(MUCH_ALIKE, "strategy.kind", "few_layers", "at least the 200", above="strategy"),
    Row(MUCH_OTHER, "strategy.kind", "many_layers", "below 0.93", above="strategy"),
    # data and evaluation
    Row({"ratio": 2.9}, "data.class_weights", None),
    Row({"ratio": 40.0}, "data.class_weights", None, "ants has 40 times the images of bees: `balanced`"),
    Row({"group": "patient"}, "data.group", "patient", "the same patient never straddle"),
    Row({}, "data.group", None),
    Row(MUCH_ALIKE, "evaluation.refit", True, "not measured on yours"),
    # preprocessing
    Row(MUCH_ALIKE, "preprocessing.kind", "backbone", above="preprocessing"),
    Row({"sizes": WIDE}, "preprocessing.fit", "pad", "+3.0 ± 1.0 points", {"pad": (0.0, 0.03)}),
    Row({"sizes": WIDE}, "preprocessing.fit", "crop", "no gain", {"pad": (0.0, 0.005)}),
    Row({**MUCH_OTHER, "sizes": TINY}, "preprocessing.size", 128, "at most 32 pixels", {"small": (0.0, 0.0)}),
    Row({**MUCH_OTHER, "sizes": TINY}, "preprocessing.size", 224, "-5.0 ± 1.0 points", {"small": (0.0, -0.05)}),
    # initialization
    Row({"per_class": FEW}, "head.initialization.kind", "probe", "49 images per class, fewer", cell="few_layers"),
    Row({"per_class": 50}, "head.initialization.kind", "zeros", "50 images per class, at least", cell="few_layers"),
    # augmentation
    Row(MUCH_ALIKE, "augmentation.horizontal_flip.probability", 0.5, "not measured"),
    Row(MUCH_ALIKE, "augmentation.horizontal_flip.probability", 0.5, "no loss", {"horizontal_flip": (-0.019, 0)}),
    Row(MUCH_ALIKE, "augmentation.horizontal_flip.probability", 0.5, "gain: +5", {"horizontal_flip": (-0.1, 0.05)}),
    Row(MUCH_ALIKE, "augmentation.horizontal_flip", ABSENT, "mirrored -10.0 ± 1.0", {"horizontal_flip": (-0.1, 0)}),
    Row(MUCH_ALIKE, "augmentation.vertical_flip", ABSENT, "not measured"),
    Row(MUCH_ALIKE, "augmentation.vertical_flip.probability", 0.5, "-0.5 ± 1.0", {"vertical_flip": (-0.005, 0.0)}),
    Row(MUCH_ALIKE, "augmentation.vertical_flip", ABSENT, "upside down -2.0 ± 1.0", {"vertical_flip": (-0.02, 0.0)}),
    Row(MUCH_ALIKE, "augmentation.rotation", ABSENT, "-30.0 ± 1.0 points", {"rotation_90": (-0.3, -0.04)}),
    Row(MUCH_ALIKE, "augmentation.rotation", ABSENT, "rotation, color_jitter (not measured)"),
    Row(MUCH_ALIKE, "augmentation.rotation", ABSENT, "-2.0 ± 1.0", {**NO_UP, "rotation_90": (-0.02, 0.0)}),
    Row(MUCH_ALIKE, "augmentation.rotation", ABSENT, "trained on both -3.0", {**NO_UP, "rotation_90": (0.0, -0.03)}),
    Row(MUCH_ALIKE, "augmentation.rotation", ABSENT, "only one of them", {"rotation_90": (0.0, 0.0)}),
    Row(MUCH_ALIKE, "augmentation.rotation.step", 90.0, "Other angles", {**NO_UP, "rotation_90": (-0.005, 0.0)}),
    Row(MUCH_ALIKE, "augmentation.rotation.degrees", 180.0, "-0.5 ± 1.0", {**NO_UP, "rotation_90": (-0.005, 0.0)}),
    Row({"per_class": 200}, "augmentation.random_crop.scale", (0.5, 1.0), "as the recipe's", cell="few_layers"),
    Row({"per_class": 5}, "augmentation.random_crop.scale", (0.36, 1.0), "at least 36 %", cell="few_layers"),
    Row({**MUCH_ALIKE, "sizes": WIDE}, "augmentation.random_crop", ABSENT, "what pad keeps", {"pad": (0.0, 0.03)}),
    Row(MUCH_ALIKE, "augmentation.color_jitter", ABSENT, "color_jitter (not measured)"),
    Row(MUCH_ALIKE, "augmentation.color_jitter.saturation", 0.2, "Without color", {"gray": (-0.009, 0)}),
    Row(MUCH_ALIKE, "augmentation.color_jitter", ABSENT, "without color -9.0 ± 1.0", {"gray": (-0.09, 0)}),
    Row({**MUCH_ALIKE, "modes": {"L": 9}}, "augmentation.color_jitter.saturation", 0.0, "All images are gray"),
    # cached views: one where nothing is augmented, else none
    Row(MUCH_ALIKE, "strategy.cached_views", None),
    Row(
        {**MUCH_ALIKE, "sizes": WIDE},
        "strategy.cached_views",
        1,
        "one view serves all epochs",
        {"horizontal_flip": (-0.3, 0), "pad": (0.0, 0.03)},
    ),
    # loss, regularization
    Row(MUCH_ALIKE, "loss.kind", "cross_entropy", above="loss"),
    Row({**MUCH_ALIKE, "suspects": 900}, "loss.label_smoothing", 0.1),
    Row({"per_class": 200}, "regularization.l2.strength", 1e-4, "as in the recipe", cell="few_layers"),
    Row({"per_class": 5}, "regularization.l2.strength", 8e-4, "more than the 0.0001", cell="few_layers"),
    Row({"per_class": 200}, "regularization.dropout.rate", 0.2, "as in the recipe", cell="few_layers"),
    Row({"per_class": 5}, "regularization.dropout.rate", 0.29, "more than the 0.2", cell="few_layers"),
    # optimizer, schedule
    Row(MUCH_ALIKE, "optimizer.kind", "adamw", above="optimizer"),
    Row({"per_class": FEW}, "optimizer.lr", 7e-4, "3 times slower", cell="few_layers"),
    Row(MUCH_ALIKE, "optimizer.batch", 32, "1,440 training images"),
    Row(LITTLE_ALIKE, "optimizer.batch", 16, "80 training images", cell="few_layers"),
    Row(MUCH_ALIKE, "schedule.kind", "one_cycle", above="schedule"),
    Row(LITTLE_ALIKE, "budget.epochs", 50, "50 epochs for at least 250 steps", cell="few_layers"),
    # what stays off says so in the catalog, and nothing in the recipe
    Row(MUCH_ALIKE, "mixing", None),
    Row(MUCH_ALIKE, "averaging", None),
    Row(MUCH_ALIKE, "ensemble", None),
    Row(MUCH_ALIKE, "head.hidden", None),
)


@pytest.fixture
def advice_for(
    make_profile: Callable[..., Profile], effect: Callable[..., ViewEffect]
) -> Callable[[Row, Cell | None], Advice]:
    def advice(row: Row, cell: Cell | None) -> Advice:
        views = tuple(
            effect(view, transferred=transferred, refitted=refitted)
            for view, (transferred, refitted) in row.views.items()
        )
        return advise(make_profile(**row.facts, views=views), strategy=cell)

    return advice


def along(settings: Settings, key: str) -> Iterator[Any]:
    """What stands at each part of a dotted key, as far as there is anything."""
    found: Any = settings
    for part in key.split("."):
        if isinstance(found, tuple):
            found = next((item for item in found if item.kind == part), ABSENT)
        else:
            found = getattr(found, part)
        yield found
        if found == ABSENT:
            return


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.key}={row.value}: {row.says}")
def test_facts_lead_to_the_value_with_its_reason(advice_for: Callable[..., Advice], row: Row) -> None:
    advice = advice_for(row, row.cell)
    *_, value = along(advice.recipe, row.key)
    assert value == row.value
    above = row.above or (row.key.partition(".")[0] if value == ABSENT else row.key)
    if not row.says:
        assert above not in advice.reasons
        return
    if above not in advice.reasons:  # an item of a list is explained as a whole
        above = above.rpartition(".")[0]
    assert row.says in advice.reasons[above]


def techniques(value: Any) -> Iterator[type[Technique]]:
    """Every technique in a part of a recipe."""
    if isinstance(value, Technique):
        yield type(value)
    if isinstance(value, Settings):
        value = tuple(getattr(value, name) for name in type(value).model_fields)
    if isinstance(value, tuple):
        for part in value:
            yield from techniques(part)


ALL = [(family, technique) for family, group in families().items() for technique in group]


def test_every_technique_that_says_when_it_is_advised_is_advised_in_a_row(advice_for: Callable[..., Advice]) -> None:
    shown: set[type[Technique]] = set()
    for row in ROWS:
        path = [part for part in along(advice_for(row, row.cell).recipe, row.key) if isinstance(part, Technique)]
        shown.update(type(part) for part in path[-1:])
    assert shown == {technique for _, technique in ALL if technique.advised}


@pytest.mark.parametrize("cell", ["linear_probe", "stage_probe", "few_layers", "many_layers"])
def test_no_recipe_holds_a_technique_that_says_it_is_never_advised(
    advice_for: Callable[..., Advice], cell: Cell
) -> None:
    held = {technique for row in ROWS for technique in techniques(advice_for(row, cell).recipe)}
    assert [kind_of(each) for each in held if not each.advised] == []


@pytest.mark.parametrize(
    ("family", "technique"), ALL, ids=lambda each: each if isinstance(each, str) else kind_of(each)
)
def test_a_technique_says_when_it_is_advised_or_why_never(family: str, technique: type[Technique]) -> None:
    said = [text for text in (technique.advised, technique.not_advised) if text]
    assert len(said) == 1, f"{family}/{kind_of(technique)}: give it either `advised` or `not_advised`"
    assert len(said[0]) > 20 and said[0].endswith(".")
