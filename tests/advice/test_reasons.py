"""Every reason cites the figures that decided, and nothing else: made profiles, with each figure of them changed.

The profiles cover the branches of each rule. A figure that a choice does not cite may be anything, and the choice stays
as it is; one that it cites makes another choice, or another sentence, somewhere between nothing and very much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, cast, get_args

import pytest

from finetune_advisor.advice.advise import advise
from finetune_advisor.advice.choice import KEEP, NOT_FROM_DATA, Change, Choice, Cite, Reason, cite
from finetune_advisor.advice.rules import choices
from finetune_advisor.advice.table import place
from finetune_advisor.records.health import ImageSizes
from finetune_advisor.records.profile import Cell, Profile, StageSimilarity, View
from tests.advice.conftest import STAGES
from tests.advice.conftest import made_effect as effect
from tests.advice.conftest import made_forecast as forecast
from tests.advice.conftest import made_profile as make_profile
from tests.advice.conftest import made_stage_probes as stage_probes

PHOTOS = ImageSizes(shorter_side=(200, 256, 300), aspect=(0.7, 1.2, 1.6), off_square=0.1)
WIDE = ImageSizes(shorter_side=(200, 256, 300), aspect=(0.7, 1.5, 1.9), off_square=0.8)
SQUARE = ImageSizes(shorter_side=(28, 32, 32), aspect=(1.0, 1.0, 1.0), off_square=0.0)


def views(**changes: tuple[float, float]) -> dict[str, Any]:
    """Views by (change as they are, change when trained on), with a standard error of 1 point."""
    return {
        "views": tuple(
            effect(cast(View, view), transferred=as_is, refitted=on) for view, (as_is, on) in changes.items()
        )
    }


def guessing(majority: float | None) -> dict[str, Any]:
    """Every view costs nothing, by a classifier that knows no more than the largest class, or of which nobody knows."""
    names: tuple[View, ...] = ("horizontal_flip", "vertical_flip", "rotation_90", "gray", "pad", "small")
    return {"views": tuple(effect(view, majority=majority) for view in names)}


NO_UP = {"horizontal_flip": (0.0, 0.0), "vertical_flip": (0.0, 0.0), "rotation_90": (-0.005, 0.0)}
UPRIGHT = {
    "horizontal_flip": (0.0, 0.0),
    "vertical_flip": (-0.2, -0.03),
    "rotation_90": (-0.3, -0.04),
    "gray": (-0.09, 0),
}
FLAT = (0.3, 0.4, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9)
RISING = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

PROFILES: Mapping[str, dict[str, Any]] = {
    "few images like ImageNet, nothing else measured": {},
    "few images unlike ImageNet": {"score": 0.3, "per_class": 122, "curve": forecast(now=0.9, later=0.955, half=0.01)},
    "many images like ImageNet": {"per_class": 900, "sizes": PHOTOS, "modes": {"RGB": 9, "L": 1}, **views(**UPRIGHT)},
    "many images unlike ImageNet": {"per_class": 900, "score": 0.3, **views(**NO_UP, gray=(-0.005, 0))},
    "at both borders": {"per_class": 200, "score": 0.93},
    "just below both borders": {"per_class": 199, "score": 0.9296},
    "uneven classes": {"per_class": 450, "effective": 1.4, "smallest": 90, "ratio": 9.0},
    "a rare class of 2": {"per_class": 201, "effective": 1.03, "smallest": 2, "ratio": 200.0},
    "a classifier that names one class": {"per_class": 400, "sizes": WIDE, **guessing(0.9)},
    "a profile that does not keep the majority": {"per_class": 900, "sizes": WIDE, **guessing(None)},
    "mirroring costs": {"per_class": 900, **views(horizontal_flip=(-0.1, 0.0), vertical_flip=(0, -0.05))},
    "mirroring costs a little": {"per_class": 900, **views(horizontal_flip=(-0.02, 0.0))},
    "mirroring pays": {"per_class": 900, **views(horizontal_flip=(-0.1, 0.05))},
    "one mirror image is wrong": {"per_class": 900, **views(**{**NO_UP, "horizontal_flip": (-0.3, 0.0)})},
    "color at 1.84 standard errors": {"per_class": 900, **views(gray=(-0.0184, 0.0))},
    "gray images": {"per_class": 900, "modes": {"L": 90, "I;16": 10}},
    "wide images that gain by padding": {"per_class": 400, "sizes": WIDE, **views(pad=(0, 0.03))},
    "wide images that gain nothing": {"per_class": 400, "sizes": WIDE, **views(pad=(0, 0.005), small=(0, 0.0))},
    "wide images, not padded": {"per_class": 400, "sizes": WIDE},
    "nothing may be changed": {
        "per_class": 900,
        "sizes": WIDE,
        **views(horizontal_flip=(-0.3, 0), gray=(-0.3, 0), pad=(0, 0.03)),
    },
    "tiny images": {"per_class": 900, "score": 0.3, "sizes": SQUARE, **views(small=(0.0, 0.003))},
    "tiny images with detail": {"per_class": 900, "score": 0.3, "sizes": SQUARE, **views(small=(0.0, -0.05))},
    "a smaller size, images not measured": {"per_class": 900, **views(small=(0.0, 0.0))},
    "very many images": {"per_class": 25_000},
    "hardly any images": {"per_class": 5},
    "another strength has less loss": {"least_loss_strength": 1e-4},
    "one stage is clearly better": {
        "score": 0.3,
        "probes": dict.fromkeys(("blocks.0", "pooled", "all"), (0.9, 0.5)) | {"stem": (0.95, 0.4)},
    },
    "one stage has less loss only": {
        "score": 0.3,
        "probes": dict.fromkeys(("blocks.0", "all"), (0.9, 0.5)) | {"stem": (0.901, 0.4), "pooled": (0.9, 0.45)},
    },
    "later stages add nothing": {"per_class": 900, "probes": stage_probes(*FLAT)},
    "later stages add nothing, early": {"per_class": 900, "probes": stage_probes(0.3, *[0.9] * 7)},
    "every stage adds": {
        "per_class": 900,
        "probes": stage_probes(*RISING),
        "stages": dict(zip(STAGES, [0.2, 0.95, 0.95, 0.3, 0.3, 0.3, 0.3, 0.3], strict=True)),
    },
    "all stages like ImageNet": {"score": 0.4, "probes": stage_probes(*RISING), "stages": dict.fromkeys(STAGES, 0.95)},
    "early stages unlike ImageNet, many images": {
        "per_class": 5000,
        "score": 0.4,
        "probes": stage_probes(*RISING),
        "stages": dict.fromkeys(STAGES, 0.3),
    },
    "groups": {"group": "patient"},
}

CELLS: tuple[Cell, ...] = ("linear_probe", "stage_probe", "few_layers", "many_layers")
CASES = [pytest.param(name, cell, id=f"{name}-{cell}") for name in PROFILES for cell in CELLS]


@cache
def profile_of(name: str) -> Profile:
    return make_profile(**PROFILES[name])


def outcome(choice: Choice | None) -> object:
    """What another figure would change: the value, and the sentence without its figures."""
    if choice is None:
        return "not chosen"
    value = "kept" if choice.value is KEEP else repr(choice.value)
    return value, choice.reason and choice.reason.shape


# What a figure of a placed profile is made of.
DERIVED: Mapping[str, tuple[str, ...]] = {
    "size.amount": ("size",),
    "size.counted_per_class": ("size.images", "size.effective_classes", "size.smallest_class"),
    "size.plenty_per_class": ("size.forecast", "size.power_law", "size.learning_curve"),
    "similarity.threshold": (),
}

# What a choice without a reason is set to: a setting of the analysis, and nothing that was measured.
SETTINGS = {
    "name": "data",
    "seed": "seed",
    "data.path": "data",
    "data.validation": "validation",
    "data.class_weights": None,
    "backbone.name": "backbone",
    "backbone.weights": "weights",
    "preprocessing.size": "size_px",
}

SHARES = re.compile(r"\.(accuracy|transferred|refitted|score|low|high|off_square|majority)$")


def covered(path: str, cites: Iterator[str] | list[str]) -> bool:
    sources = [part for cited in cites for part in DERIVED.get(cited, (cited,))]
    return any(path == source or path.startswith(f"{source}.") for source in sources)


CHANGED = ("size", "similarity", "probes", "views", "health.sizes", "health.imbalance", "splits.train", "splits.val")
PLACED = ("images_in_families", "verdict", "threshold", "divergence")


def figures(values: Any, path: str = "") -> Iterator[tuple[str, tuple[Any, ...], float]]:
    """Every number of a dumped profile: its path as reasons cite it, the keys that lead to it, and the number."""
    if isinstance(values, (int, float)) and not isinstance(values, bool):
        yield path, (), values
    parts: list[tuple[Any, str, Any]] = []
    if isinstance(values, dict):
        parts = [(key, key, part) for key, part in values.items()]
    elif isinstance(values, (list, tuple)):
        names = [part.get("view") or part.get("stage") if isinstance(part, dict) else None for part in values]
        parts = [(index, names[index] or str(index), part) for index, part in enumerate(values)]
    for key, name, part in parts:
        for found, keys, number in figures(part, f"{path}.{name}" if path else name):
            yield found, (key, *keys), number


def changed_values(path: str, value: float) -> tuple[float, ...]:
    """Much less, less, more and much more, where that can be."""
    if isinstance(value, int):
        return tuple({max(1, value // 300), max(1, value // 2), 2 * value, 300 * value} - {value})
    if SHARES.search(path):
        near = (value - 0.3, value - 0.05, value + 0.05, value + 0.3, 0.0, 1.0)
        return tuple({min(max(new, 0.0), 1.0) for new in near} - {value})
    return value / 1000, value / 10, value / 2, value * 2, value * 10, value * 1000


def variants(profile: Profile, wanted: Callable[[str], bool] = lambda path: True) -> Iterator[tuple[str, Profile]]:
    """The profile with one of the wanted figures changed, and the figure; what was not measured is measured."""
    data = profile.model_dump()
    for path, keys, number in figures(data):
        if path.startswith(CHANGED) and not path.endswith(PLACED) and wanted(path):
            for value in changed_values(path, number):
                yield path, Profile.model_validate(edited(data, keys, value))
    yield from (found for found in measured_parts(profile) if wanted(found[0]))


def edited(part: Any, keys: tuple[Any, ...], value: Any) -> Any:
    if not keys:
        return value
    if isinstance(part, dict):
        return {**part, keys[0]: edited(part[keys[0]], keys[1:], value)}
    return [edited(item, keys[1:], value) if index == keys[0] else item for index, item in enumerate(part)]


def measured_parts(profile: Profile) -> Iterator[tuple[str, Profile]]:
    """The profile with what it lacks, and with another group."""
    for view in get_args(View):
        yield from measured_view(profile, view)
    health, similarity = profile.health, profile.similarity
    for sizes in (PHOTOS, WIDE, SQUARE) if health.sizes is None else ():
        yield "health.sizes", profile.model_copy(update={"health": health.model_copy(update={"sizes": sizes})})
    for modes in ({"L": 9}, {"RGB": 9}):
        changed = health.model_copy(update={"color_modes": modes})
        yield "health.color_modes", profile.model_copy(update={"health": changed})
    if not similarity.per_stage:
        measured = similarity.model_copy(update={"per_stage": stages_alike()})
        yield "similarity.per_stage", profile.model_copy(update={"similarity": measured})


def stages_alike() -> tuple[StageSimilarity, ...]:
    return tuple(StageSimilarity(stage=stage, score=0.95, divergence=0.05) for stage in STAGES)


def measured_view(profile: Profile, view: View) -> Iterator[tuple[str, Profile]]:
    known = profile.view(view)
    rest = tuple(each for each in profile.views if each.view != view)
    if known is None:
        for as_is, on in ((0.0, 0.0), (-0.3, -0.1), (0.0, 0.05)):
            new = effect(view, transferred=as_is, refitted=on)
            yield f"views.{view}", profile.model_copy(update={"views": (*rest, new)})
    elif known.majority is None:
        new = known.model_copy(update={"majority": 0.5, "majority_std": 0.01})
        for name in ("accuracy", "majority", "majority_std"):
            yield f"views.{view}.{name}", profile.model_copy(update={"views": (*rest, new)})


Chosen = Mapping[Cell, Mapping[str, Choice]]


def chosen(profile: Profile, cells: Iterable[Cell]) -> Chosen:
    known = place(profile)
    return {cell: {choice.key: choice for choice in choices(known, cell)} for cell in cells}


def cells_of(profile: Profile) -> set[Cell]:
    """Those that are worth the time: the table's, and one that trains layers."""
    cell = place(profile).cell
    assert cell is not None
    trained: Cell = "many_layers" if profile.similarity.per_stage or profile.similarity.score < 0.9 else "few_layers"
    return {cell, trained}


def pairs(by_cell: Chosen) -> list[tuple[Cell, Choice]]:
    return [(cell, choice) for cell, chosen_there in by_cell.items() for choice in chosen_there.values()]


@cache
def moved(name: str) -> tuple[Chosen, tuple[tuple[str, Chosen], ...]]:
    """What is chosen for a profile, and for each of its variants."""
    profile = profile_of(name)
    cells = cells_of(profile)
    return chosen(profile, cells), tuple((path, chosen(other, cells)) for path, other in variants(profile))


@pytest.mark.parametrize(("name", "cell"), CASES)
def test_a_reason_cites_figures_that_are_in_the_profile_or_says_that_none_decided(name: str, cell: Cell) -> None:
    profile = place(profile_of(name))
    for choice in choices(profile, cell):
        if choice.reason is None:
            assert choice.key in SETTINGS, f"{choice.key} is chosen and says nothing"
            continue
        if not choice.reason.cites:
            assert str(choice.reason).startswith(NOT_FROM_DATA), f"{choice.key}: {choice.reason}"
        for cited in choice.reason.cites:
            assert cite(profile, cited.path) == cited, choice.key


@pytest.mark.parametrize(("name", "cell"), CASES)
def test_no_number_stands_in_a_sentence_that_is_not_handed_to_it(name: str, cell: Cell) -> None:
    """So that a sentence cannot say what was not measured: templates hold words."""

    def templates(reason: Reason) -> Iterator[str]:
        yield reason.template
        for part in reason.parts.values():
            assert isinstance(part, Cite | Change | Reason | str | int | float)
            if isinstance(part, Reason):
                yield from templates(part)

    for choice in choices(place(profile_of(name)), cell):
        for template in templates(choice.reason) if choice.reason else ():
            words = re.sub(r"\{[^}]*\}*", "", template).replace("90 degrees", "")
            assert not re.search(r"\d", words), f"{choice.key}: {template}"


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_not_cited_does_not_decide(name: str) -> None:
    before, others = moved(name)
    for path, after in others:
        for cell, choice in pairs(before):
            other = after[cell].get(choice.key)
            if outcome(other) == outcome(choice) or str(choice.reason).startswith("Chosen by hand"):
                continue
            if choice.reason is None:
                same_value = other is not None and other.value == choice.value
                assert same_value or path == SETTINGS[choice.key], f"{path} changes {choice.key}, which gives no reason"
            else:
                cites = [cited.path for cited in choice.reason.cites]
                assert covered(path, cites), f"{path} changes {choice.key}; its reason cites {cites}: {choice.reason}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
def test_what_is_cited_decides(name: str) -> None:
    """Alone, or where another cited figure has another value: a standard error decides at some difference."""
    before, others = moved(name)
    for cell, choice in pairs(before):
        for cited in choice.reason.cites if choice.reason else ():
            changes = [after[cell].get(choice.key) for path, after in others if covered(path, [cited.path])]
            assert changes or cited.path in (*DERIVED, "group"), f"{cited.path} is not changed by the test"
            alone = any(outcome(other) != outcome(choice) for other in changes)
            assert alone or not changes or decides_jointly(name, cited, choice, cell), f"{cited.path}: {choice.reason}"


def decides_jointly(name: str, cited: Cite, choice: Choice, cell: Cell) -> bool:
    assert choice.reason is not None
    others = [each.path for each in choice.reason.cites if each.path != cited.path]
    for _, other in variants(profile_of(name), lambda path: covered(path, others) and not covered(path, [cited.path])):
        there = outcome(choice_of(other, cell, choice.key))
        for _, both in variants(other, lambda path: covered(path, [cited.path])):
            if outcome(choice_of(both, cell, choice.key)) != there:
                return True
    return False


def choice_of(profile: Profile, cell: Cell, key: str) -> Choice | None:
    return next((choice for choice in choices(place(profile), cell) if choice.key == key), None)


@pytest.mark.parametrize(("name", "cell"), CASES)
def test_a_reason_takes_two_lines_at_most(name: str, cell: Cell) -> None:
    advice = advise(profile_of(name), strategy=cell)
    comments = re.findall(r"(?:^ *# .*\n)+", advice.yaml().partition("\nformat:")[2], re.MULTILINE)
    assert len(comments) >= len(advice.reasons) > 0 or "strategy" in advice.reasons
    for comment in comments:
        assert comment.count("\n") <= 2, comment


FALSE = (
    "should add",
    "was the best",
    "does not carry",
    "no side is up",
    "labels stay true",
    "root of the batch",
    "by a factor of",
    " 0 %",
    "weigh like",
    "even ones",
    "% sure",
    "sure of",
    "None",
    "nan",
    "a class",
    "contradict",
)
"""What reasons said that was false, empty or not known."""


@pytest.mark.parametrize(("name", "cell"), CASES)
def test_nothing_is_said_that_was_found_false_or_empty(name: str, cell: Cell) -> None:
    advice = advise(profile_of(name), strategy=cell)
    for text in (*advice.reasons.values(), advice.header, advice.expected.basis):
        found = [words for words in FALSE if re.search(rf"{re.escape(words)}\b", text.replace("largest class", ""))]
        assert not found, text


def test_the_profiles_lead_to_every_cell() -> None:
    assert {place(profile_of(name)).cell for name in PROFILES} == set(CELLS)
