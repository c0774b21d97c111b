"""From a folder to a profile: complete, reproducible, and blind to the test labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

import finetune_advisor.analysis.analyze as analyzing
from finetune_advisor.advice.advise import advise
from finetune_advisor.advice.table import place
from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.errors import BackboneError, DataError, FinetuneAdvisorError, WeightsError
from finetune_advisor.records.profile import Cell, Profile
from finetune_advisor.workflows.analyze import analyze_and_advise

ImageFolder = Callable[..., Path]

LITE0_STAGES = ("stem", *(f"blocks.{number}" for number in range(7)))


def test_the_images_are_counted_by_split_and_class(profile: Profile, folder: Path) -> None:
    assert (profile.data, profile.classes, profile.seed) == (str(folder), ("ants", "bees"), 1)
    assert profile.images == 23
    train, val, test = (profile.splits[name] for name in ("train", "val", "test"))
    assert {name: train.per_class[name] + val.per_class[name] for name in profile.classes} == {"ants": 9, "bees": 7}
    assert test.per_class == {"ants": 4, "bees": 3}
    for split in (train, val, test):
        assert split.images == sum(split.per_class.values())


def test_the_size_is_that_of_what_can_be_trained_on(profile: Profile) -> None:
    assert (profile.size.images, profile.size.per_class, profile.size.smallest_class) == (16, 8.0, 7)


def test_what_is_wrong_with_the_files_is_named(profile: Profile) -> None:
    health = profile.health
    assert [(bad.path, "not an image" in bad.reason) for bad in health.bad_files] == [("train/bees/bad.png", True)]
    assert health.ignored_files == ("train/bees/notes.txt",)
    assert health.duplicates_across_splits == (("test/ants/copy.png", "train/ants/0.png"),)
    assert health.duplicates_across_classes == (("train/ants/1.png", "train/bees/copy.png"),)
    assert set(health.exact_duplicates) == {*health.duplicates_across_splits, *health.duplicates_across_classes}
    assert (health.imbalance.largest, health.imbalance.smallest) == ("ants", "bees")
    assert health.imbalance.ratio == pytest.approx(9 / 7)


def test_images_of_12_bits_are_measured_as_their_8_bit_twins_on_the_scale_of_the_training_images(
    tmp_path: Path, private_cache: Path
) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for name, level in (("ants", 60), ("bees", 160)):
            for number in range(count):
                gray_HW = rng.normal(level, 30, (40, 48)).clip(0, 255).astype(np.uint8)
                wide_HW = np.rint(gray_HW * (4095 / 255)).astype(np.uint16)
                for kind, values in (("plain", gray_HW), ("wide", wide_HW * (15 if split == "test" else 1))):
                    path = tmp_path / kind / split / name / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(values).save(path)
    plain, wide = (place(analyze(tmp_path / kind, seed=1)) for kind in ("plain", "wide"))
    assert plain.health.values is None
    values = wide.health.values
    assert values is not None
    assert (values.range, values.images, values.of) == ((0, 4095), 16, 16)
    assert (wide.cell, wide.probes, wide.similarity) == (plain.cell, plain.probes, plain.similarity)
    assert wide.health.tones is not None and not wide.health.tones.mostly_few_levels
    assert advise(wide).recipe.preprocessing.value_range == (0, 4095)


def test_there_is_a_probe_at_every_stage_and_a_classifier_learns_what_can_be_learned(profile: Profile) -> None:
    assert [probe.stage for probe in profile.probes] == [*LITE0_STAGES, "pooled", "all"]
    assert all(0 <= probe.accuracy <= 1 and probe.std >= 0 and probe.log_loss > 0 for probe in profile.probes)
    # One image is in both classes, so at least one of 16 answers is wrong.
    assert 0.75 < profile.probe("all").accuracy <= 15 / 16


def test_noise_does_not_look_like_imagenet(profile: Profile) -> None:
    similarity = profile.similarity
    assert 0 <= similarity.low <= similarity.score <= similarity.high < 0.5
    assert [stage.stage for stage in similarity.per_stage] == list(LITE0_STAGES)
    assert all(stage.divergence >= 0 and 0 < stage.score <= 1 for stage in similarity.per_stage)


def test_measuring_holds_no_opinion(profile: Profile) -> None:
    assert profile.cell is None and profile.predicted is None
    assert profile.size.verdict is None and profile.similarity.verdict is None


def test_the_time_is_told(profile: Profile) -> None:
    seconds = profile.seconds
    assert 0 < seconds.images + seconds.probes <= seconds.total


def test_the_same_seed_measures_the_same_with_and_without_the_cache(profile: Profile, folder: Path) -> None:
    for use_cache in (True, False):
        again = analyze(folder, seed=1, use_cache=use_cache)
        times = {"seconds", "speed"}
        assert again.model_dump(exclude=times) == profile.model_dump(exclude=times)


@pytest.mark.parametrize("change", ["decoders", "device"])
def test_it_is_measured_again_where_more_files_may_be_decoded_or_on_another_device(
    image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, device = image_folder({"ants": 5, "bees": 5}), "auto"

    def measured() -> bool:
        found: list[bool] = []
        original = analyzing._measured

        def measuring(*given: Any) -> Any:
            found.append(True)
            return original(*given)

        with monkeypatch.context() as patched:
            patched.setattr(analyzing, "_measured", measuring)
            analyze(root, backbone="resnet18", weights="random", size=32, device=device)
        return bool(found)

    assert (measured(), measured()) == (True, False)
    if change == "decoders":
        monkeypatch.setattr(analyzing, "decoder_key", lambda: "a new codec")
    else:
        device = "cpu"
    assert (measured(), measured()) == (True, False)


def test_another_seed_draws_another_split_but_finds_the_same_similarity(profile: Profile, folder: Path) -> None:
    other = analyze(folder, seed=2)
    assert other.similarity.score == profile.similarity.score
    assert other.similarity.low != profile.similarity.low, "the bootstrap is drawn anew"
    assert other.probes != profile.probes


def test_a_profile_survives_the_disk(profile: Profile, tmp_path: Path) -> None:
    for value in (profile, place(profile)):
        value.save(tmp_path / "profile.json")
        assert Profile.load(tmp_path / "profile.json") == value


def test_similarity_is_measured_with_the_ruler_whatever_is_trained(profile: Profile, folder: Path) -> None:
    other = analyze(folder, seed=1, backbone="resnet18", weights="random", size=64)
    assert other.similarity == profile.similarity
    assert [probe.stage for probe in other.probes][:2] == ["stem", "layer1"]
    assert (other.backbone, other.weights, other.size_px) == ("resnet18", "random", 64)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"backbone": "resnet1"}, BackboneError),
        ({"backbone": "resnet18", "weights": "bundled"}, WeightsError),
        ({"validation": 1.5}, DataError),
    ],
)
def test_a_mistake_is_an_error_of_this_package(
    folder: Path, settings: dict[str, object], error: type[FinetuneAdvisorError]
) -> None:
    with pytest.raises(error):
        analyze(folder, **settings)  # type: ignore[arg-type]


def test_nobody_has_to_say_where_weights_come_from(
    profile: Profile, image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bundled ones where there are some, else those of the hub, as on the command line."""
    assert profile.weights == "bundled"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for verb in (analyze, analyze_and_advise):
        with pytest.raises(WeightsError, match="not in the local hub cache"):
            verb(image_folder({"ants": 3, "bees": 3}, name=verb.__name__), backbone="resnet18")


def recipes(root: Path) -> list[str]:
    """What is written for this folder: by the table, and for every strategy that a person may ask for."""
    analysis = analyze_and_advise(root, use_cache=False)
    return [analysis.advice.yaml(), *(advise(analysis.profile, strategy=cell).yaml() for cell in get_args(Cell))]


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside.png")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_permuting_the_test_labels_changes_no_byte_of_the_recipe(image_folder: ImageFolder) -> None:
    root = image_folder({"train/ants": 8, "train/bees": 8, "test/ants": 4, "test/bees": 4})
    before = recipes(root)
    for number in (0, 1, 3):
        swap(root / f"test/ants/00{number}.png", root / f"test/bees/00{number}.png")
    (root / "test/ants/002.png").rename(root / "test/bees/004.png")
    assert recipes(root) == before


def test_a_group_column_that_was_used_is_in_the_recipe(image_folder: ImageFolder) -> None:
    """Also where nobody named it: the run has to keep the same images together."""
    root = image_folder({"ants": 6, "bees": 6})
    rows = [f"{label}/{number:03}.png,{label},{number // 2}" for label in ("ants", "bees") for number in range(6)]
    manifest = root / "labels.csv"
    manifest.write_text("\n".join(["path,label,Group", *rows]) + "\n")
    found = analyze(manifest, backbone="resnet18", weights="random", size=32)
    assert found.group == "Group"
    assert advise(found).recipe.data.group == "Group"


def test_names_that_are_no_unicode_can_be_written_down(image_folder: ImageFolder, tmp_path: Path) -> None:
    root = image_folder({"ants": 4, "bees": 4})
    try:
        (root / "ants" / "caf\udce9.png").write_text("no pixels here")
    except OSError:
        pytest.skip("this disk takes only names in Unicode")
    found = analyze(root, backbone="resnet18", weights="random", size=32)
    assert found.health.bad_files[0].path == r"ants/caf\udce9.png"
    found.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json") == found
