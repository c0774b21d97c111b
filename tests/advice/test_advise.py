"""The recipe that is written: valid, complete, and every chosen line with a reason that can be checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from finetune_advisor.advice.advise import Advice, advise
from finetune_advisor.advice.rules import KEEP, STEPS_AT_LEAST, STEPS_AT_MOST, choices
from finetune_advisor.advice.table import place
from finetune_advisor.artifacts.profile import Cell, Profile
from finetune_advisor.artifacts.recipe_file import is_edited, load_recipe
from finetune_advisor.techniques.strategy import StageProbe

MakeProfile = Callable[..., Profile]

CELLS: tuple[Cell, ...] = get_args(Cell)
EXAMPLES = {
    "linear_probe": (50, 0.95),
    "stage_probe": (50, 0.3),
    "few_layers": (900, 0.95),
    "many_layers": (900, 0.3),
}
"""Cell -> images a class and similarity that lead to it."""


def written(advice: Advice, folder: Path) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(advice.yaml(), encoding="utf-8")
    return file


@pytest.mark.parametrize("cell", CELLS)
def test_the_table_leads_to_its_recipe(make_profile: MakeProfile, cell: Cell) -> None:
    per_class, score = EXAMPLES[cell]
    assert advise(make_profile(per_class=per_class, score=score)).recipe.strategy.kind == cell


@pytest.mark.parametrize("measured", CELLS)
@pytest.mark.parametrize("forced", CELLS)
def test_every_strategy_can_be_forced_and_loads_back_from_its_yaml(
    make_profile: MakeProfile, tmp_path: Path, measured: Cell, forced: Cell
) -> None:
    per_class, score = EXAMPLES[measured]
    advice = advise(make_profile(per_class=per_class, score=score), strategy=forced)
    assert advice.recipe.strategy.kind == forced
    assert load_recipe(written(advice, tmp_path)) == advice.recipe
    assert not is_edited(advice.yaml())
    if forced != measured:
        assert f"the table points to {measured}" in advice.reasons["strategy"]


@pytest.mark.parametrize("cell", CELLS)
def test_every_choice_is_in_the_recipe_and_its_reason_above_its_line(make_profile: MakeProfile, cell: Cell) -> None:
    profile = place(make_profile())
    advice = advise(profile, strategy=cell, workers=4)
    values = advice.recipe.model_dump()
    for choice in choices(profile, cell, workers=4):
        assert len(choice.reason) > 20 and choice.reason.endswith("."), choice.key
        if choice.value is KEEP:
            continue
        value = values
        for part in choice.key.split("."):
            value = value[part]
        assert value == (tuple(choice.value) if isinstance(choice.value, list) else choice.value), choice.key
    lines = [line.strip() for line in advice.yaml().splitlines()]
    for key in advice.reasons:
        name = key.rpartition(".")[2]
        starts = (f"{name}:", f"- kind: {name}")
        places = [number for number, line in enumerate(lines) if line.startswith(starts)]
        assert any(lines[number - 1].startswith("#") for number in places), f"no reason above {key}"


def test_reasons_carry_the_numbers_they_rest_on(make_profile: MakeProfile) -> None:
    profile = make_profile(per_class=43, score=0.31, ratio=7.2)
    reasons = advise(profile).reasons
    assert "86 images in 2 classes: 43 a class" in reasons["strategy"]
    assert "0.31 [0.29, 0.33]" in reasons["strategy"]
    assert "86 trainable images in 2 classes" in reasons["data.path"]
    assert "0.330 (accuracy 0.930 +- 0.010)" in reasons["strategy.stages"]
    assert "ants has 7 times the images of bees" in reasons["data.class_weights"]


def test_reasons_of_training_count_images_and_steps(make_profile: MakeProfile) -> None:
    advice = advise(make_profile(per_class=900))
    assert advice.recipe.optimizer is not None and advice.recipe.budget is not None
    steps_per_epoch = math.ceil(1440 / advice.recipe.optimizer.batch)
    assert f"1440 training images make {steps_per_epoch} steps" in advice.reasons["optimizer.batch"]
    assert f"{advice.recipe.budget.epochs * steps_per_epoch} steps" in advice.reasons["budget.epochs"]  # type: ignore[operator]
    assert "360 images choose the best epoch" in advice.reasons["data.validation"]


@pytest.mark.parametrize("chosen", ["stem", "blocks.0", "all"])
def test_the_stage_is_the_one_with_the_least_log_loss(make_profile: MakeProfile, chosen: str) -> None:
    """Even where another has the higher accuracy, which is less steady on few images."""
    probes = dict.fromkeys(("stem", "blocks.0", "pooled", "all"), (0.9, 0.5)) | {chosen: (0.8, 0.4)}
    recipe = advise(make_profile(score=0.3, probes=probes)).recipe
    assert isinstance(recipe.strategy, StageProbe)
    assert recipe.strategy.stages == ("all" if chosen == "all" else (chosen,))


def test_a_stage_probe_is_never_the_top_layer_alone_and_says_when_that_would_do(make_profile: MakeProfile) -> None:
    probes = {"stem": (0.7, 0.6), "pooled": (0.9, 0.3), "all": (0.9, 0.4)}
    advice = advise(make_profile(score=0.3, probes=probes))
    assert isinstance(advice.recipe.strategy, StageProbe)
    assert advice.recipe.strategy.stages == "all"
    assert "linear_probe would do as well" in advice.reasons["strategy.stages"]


@pytest.mark.parametrize("per_class", [2, 10, 60, 199, 200, 400, 1000, 10_000, 200_000])
def test_training_is_neither_too_short_nor_too_long(make_profile: MakeProfile, per_class: int) -> None:
    profile = make_profile(per_class=per_class)
    recipe = advise(profile, strategy="few_layers").recipe
    assert recipe.optimizer is not None and recipe.budget is not None and recipe.budget.epochs is not None
    steps_per_epoch = math.ceil(profile.splits["train"].images / recipe.optimizer.batch)
    steps = recipe.budget.epochs * steps_per_epoch
    assert steps >= STEPS_AT_LEAST
    assert steps <= STEPS_AT_MOST or recipe.budget.epochs == 2, "every image is seen at least twice"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("/data/photos", "photos"),
        ("/data/my photos (2024)", "my-photos-2024"),
        ("/data/Käfer", "Käfer"),
        ("/data/📷 photos", "photos"),
        ("/data/2024", "2024"),
        ("/data/null", "null"),
        ("/data/.hidden", "hidden"),
        ("/", "run"),
    ],
)
def test_any_folder_gives_a_name_for_runs_and_a_path_that_loads_back(
    make_profile: MakeProfile, tmp_path: Path, data: str, name: str
) -> None:
    recipe = load_recipe(written(advise(make_profile(data=data)), tmp_path))
    assert (recipe.name, recipe.data.path) == (name, data)


def test_the_header_expects_what_the_written_recipe_should_score(make_profile: MakeProfile) -> None:
    profile = make_profile(probes={"stem": (0.8, 0.2), "pooled": (0.7, 0.6), "all": (0.75, 0.5)})
    assert "unseen images: 0.700" in advise(profile).header
    assert "unseen images: 0.800" in advise(profile, strategy="stage_probe").header


def test_what_was_measured_with_is_what_is_trained(make_profile: MakeProfile) -> None:
    recipe = advise(make_profile(), workers=5).recipe
    assert (recipe.backbone.name, recipe.backbone.weights) == ("tf_efficientnet_lite0", "bundled")
    assert (recipe.preprocessing.size, recipe.seed, recipe.data.validation) == (224, 3, 0.2)
    assert recipe.runtime.workers == 5


def test_the_same_profile_gives_the_same_file(make_profile: MakeProfile) -> None:
    assert advise(make_profile()).yaml() == advise(make_profile()).yaml()
