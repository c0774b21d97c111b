"""The recipe that is written: valid, complete, and every chosen line with a reason that can be checked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from finetune_advisor.advice.advise import Advice, advise
from finetune_advisor.advice.rules import KEEP, choices
from finetune_advisor.advice.sentences import why
from finetune_advisor.advice.table import place
from finetune_advisor.recipes.load import is_edited, load_recipe
from finetune_advisor.records.health import BadFile, FoldLeak, OddImage, Outlier
from finetune_advisor.records.profile import Cell, Profile, Sampled, Seconds, SplitCount
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
    assert load_recipe(written(advice, tmp_path), as_written=True) == advice.recipe
    assert not is_edited(advice.yaml())
    if forced != measured:
        assert f"the table points to {measured}" in advice.reasons["strategy"]


def value_at(values: Any, key: str) -> Any:
    """The value at a dotted key; items of a list are named by their kind."""
    for part in key.split("."):
        values = {item["kind"]: item for item in values}[part] if isinstance(values, tuple) else values[part]
    return values


def as_tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("measured", ["make_profile", "full_profile"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_choice_is_in_the_recipe_and_its_reason_above_its_line(
    request: pytest.FixtureRequest, measured: str, cell: Cell
) -> None:
    profile = place(request.getfixturevalue(measured)())
    advice = advise(profile, strategy=cell)
    values = advice.recipe.model_dump()
    for choice in choices(profile, cell):
        found = value_at(values, choice.key)
        if choice.value is not KEEP:
            assert found == as_tuples(choice.value), choice.key
    lines = [line.strip() for line in advice.yaml().splitlines()]
    for key in advice.reasons:
        name = key.rpartition(".")[2]
        starts = (f"{name}:", f"- kind: {name}")
        places = [number for number, line in enumerate(lines) if line.startswith(starts)]
        assert any(lines[number - 1].startswith("#") for number in places), f"no reason above {key}"


@pytest.mark.parametrize("cell", CELLS)
def test_facts_that_decide_nothing_change_nothing(full_profile: MakeProfile, cell: Cell) -> None:
    profile = full_profile()
    tested = {**profile.splits, "test": SplitCount(images=999, per_class={"ants": 999})}
    profile = profile.model_copy(update={"splits": tested})
    before = advise(profile, strategy=cell)
    health = profile.health.model_copy(
        update={
            "bad_files": (BadFile(path="x.jpg", reason="empty"),),
            "ignored_files": ("notes.txt",),
            "exact_duplicates": (("a.jpg", "b.jpg"),),
            "outliers": (Outlier(path="c.jpg", label="ants", distance=3.0),),
            "odd_images": (OddImage(path="d.jpg", reason="tiny"),),
        }
    )
    other = {
        "health": health,
        "views": profile.views[::-1],
        "splits": {**profile.splits, "test": SplitCount(images=999, per_class={"bees": 999})},
        "seconds": Seconds(listing=1, images=2, probes=3, total=6),
    }
    assert advise(profile.model_copy(update=other), strategy=cell).yaml() == before.yaml()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("score", [0.0, 0.3, 0.92, 0.93, 1.0])
@pytest.mark.parametrize("per_class", [2, 30, 199, 700, 100_000])
def test_every_advised_recipe_is_valid_and_loads_back(
    full_profile: MakeProfile, tmp_path: Path, cell: Cell, score: float, per_class: int
) -> None:
    advice = advise(full_profile(per_class=per_class, score=score), strategy=cell)
    assert load_recipe(written(advice, tmp_path), as_written=True) == advice.recipe


def test_advice_does_not_load_torch(full_profile: MakeProfile, tmp_path: Path) -> None:
    full_profile(per_class=900).save(tmp_path / "profile.json")
    code = (
        "import sys; from pathlib import Path; from finetune_advisor import Profile, advise;"
        "advise(Profile.load(Path('profile.json'))).yaml();"
        "sys.exit(', '.join({'torch', 'torchvision', 'timm', 'scipy', 'sklearn'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("accuracy", "chosen"), [(0.95, ("stem",)), (0.9, "all"), (0.8, "all")])
def test_stages_are_joined_unless_one_is_clearly_better(
    make_profile: MakeProfile, accuracy: float, chosen: object
) -> None:
    """Less log loss alone does not do: what folds cannot tell apart was better joined."""
    probes = dict.fromkeys(("blocks.0", "pooled", "all"), (0.9, 0.5)) | {"stem": (accuracy, 0.4)}
    advice = advise(make_profile(score=0.3, probes=probes))
    assert isinstance(advice.recipe.strategy, StageProbe)
    assert advice.recipe.strategy.stages == chosen
    told = (
        f"stem alone has less log loss (0.400 to 0.500) but is not more accurate by one standard error ({accuracy:.3f}"
    )
    assert (told in advice.reasons["strategy.stages"]) == (chosen == "all")


def test_a_stage_probe_is_never_the_top_layer_alone_and_says_when_that_would_do(make_profile: MakeProfile) -> None:
    probes = {"stem": (0.7, 0.6), "pooled": (0.9, 0.3), "all": (0.9, 0.4)}
    advice = advise(make_profile(score=0.3, probes=probes))
    assert isinstance(advice.recipe.strategy, StageProbe)
    assert advice.recipe.strategy.stages == "all"
    assert "linear_probe has no more (0.300)" in advice.reasons["strategy.stages"]


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
        ("/data/photos.csv", "photos"),
        ("/data/Photos.TAR.GZ", "Photos"),
        ("/data/v1.2", "v1.2"),
        ("/", "run"),
    ],
)
def test_any_folder_gives_a_name_for_runs_and_a_path_that_loads_back(
    make_profile: MakeProfile, tmp_path: Path, data: str, name: str
) -> None:
    recipe = load_recipe(written(advise(make_profile(data=data)), tmp_path), as_written=True)
    assert (recipe.name, recipe.data.path) == (name, data)


def test_the_header_expects_what_the_written_recipe_should_score(make_profile: MakeProfile) -> None:
    profile = make_profile(probes={"stem": (0.8, 0.2), "pooled": (0.7, 0.6), "all": (0.75, 0.5)})
    assert "unseen images: 0.700" in advise(profile).header
    assert "unseen images: 0.800" in advise(profile, strategy="stage_probe").header


def test_what_was_measured_with_is_what_is_trained(make_profile: MakeProfile) -> None:
    recipe = advise(make_profile()).recipe
    assert (recipe.backbone.name, recipe.backbone.weights) == ("tf_efficientnet_lite0", "bundled")
    assert (recipe.preprocessing.size, recipe.seed, recipe.data.validation) == (224, 3, 0.2)


def test_the_same_profile_gives_the_same_file(make_profile: MakeProfile) -> None:
    assert advise(make_profile()).yaml() == advise(make_profile()).yaml()


def test_folds_that_may_lie_are_said_before_the_expectation(make_profile: MakeProfile) -> None:
    leak = FoldLeak(families=2, images_in_families=5, suspicious=True, sign="Every image has a twin at 0.97.")
    advice = advise(make_profile(leak=leak))
    assert "Every image has a twin at 0.97" in advice.expected.basis
    assert "may lie" in advice.yaml().partition("\nformat:")[0]


def test_the_why_of_the_terminal_and_the_page_takes_three_lines(make_profile: MakeProfile) -> None:
    profile = place(make_profile(per_class=122, score=0.95, sampled=Sampled(images=40, of=9000)))
    amount, similarity, cell = why(profile, "linear_probe")
    assert amount == (
        "244 images in 2 classes, measured on a sample of 40: 122 images per class, fewer than the 200 from which "
        "layers are trained."
    )
    assert similarity == "Similarity to ImageNet 0.95 [0.93, 0.97], at least 0.93."
    assert cell == "Together: linear_probe, a linear classifier on top (near a border: stage_probe, few_layers)."
    assert why(profile, "few_layers")[2].startswith("Chosen by hand: few_layers")


def test_a_forecast_without_errors_is_an_interval_beside_the_largest_class(make_profile: MakeProfile) -> None:
    """402 images of which 400 are of one class: naming it every time is nearly as good as what is expected."""
    counts = {"ants": 400, "bees": 2}
    perfect = dict.fromkeys(("stem", "pooled", "all"), (1.0, 0.01))
    advice = advise(make_profile(per_class=201, smallest=2, effective=1.03, counts=counts, probes=perfect, std=0.0))
    assert advice.expected.majority == pytest.approx(400 / 402)
    assert re.search(r"unseen images: 0\.9\d\d to 1\.000; always naming the largest class: 0\.995\.", advice.header)


def test_profiles_of_versions_that_did_not_keep_what_is_cited_are_placed_again(make_profile: MakeProfile) -> None:
    old = place(make_profile())
    size = old.size.model_copy(update={"plenty_per_class": None, "counted_per_class": None})
    assert advise(old.model_copy(update={"size": size})).yaml() == advise(make_profile()).yaml()
