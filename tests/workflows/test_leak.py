"""A leak between training and test follows the score wherever it is shown, and there is a way out."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from finetune_advisor.cli import app
from finetune_advisor.inference.predictor import evaluate_on
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.ensemble import Ensemble, ExportForm
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.ensembling import CrossValidation
from finetune_advisor.workflows.analyze import analyze_and_advise, require_place
from finetune_advisor.workflows.export import export
from finetune_advisor.workflows.run import ensemble_and_draw, run_and_draw

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=64", "runtime.workers=0")
SAYS = "2 of the 8 test images have near-duplicates in the training data (2 groups): without them the accuracy is"


def picture(seed: int) -> Image.Image:
    """Structures of many sizes, as in a photograph: every seed another one."""
    rng = np.random.default_rng(seed)
    total_HWC = np.zeros((180, 240, 3))
    for cells in (3, 6, 12, 24, 48):
        noise_HWC = rng.uniform(0, 255, (cells, cells, 3)).astype(np.uint8)
        total_HWC += np.asarray(Image.fromarray(noise_HWC).resize((240, 180), Image.Resampling.BICUBIC)) / cells**0.5
    low, high = total_HWC.min(), total_HWC.max()
    return Image.fromarray(((total_HWC - low) / (high - low) * 255).astype(np.uint8))


def write_leaking(root: Path) -> Path:
    """Two classes of 8 training and 4 test images; a test image of each class is a training image, compressed again."""
    for split, count, first in (("train", 8, 0), ("test", 3, 500)):
        for label, name in enumerate(("ants", "bees")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                picture(first + 100 * label + number).save(root / split / name / f"{number}.png")
    for label, name in enumerate(("ants", "bees")):
        picture(100 * label).save(root / "test" / name / "again.jpg", quality=80)
    return root


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A finished probe with its page; a test image of each class was trained on."""
    folder = tmp_path_factory.mktemp("leak")
    recipe = load_recipe("linear_probe", [f"data.path={write_leaking(folder / 'images')}", *TINY])
    return run_and_draw(recipe, RunDir(folder / "run"))


def images_of(run: RunDir) -> Path:
    return run.path.parent / "images"


def called(*arguments: object) -> Any:
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_metrics_hold_the_leak_with_the_accuracy_without_it(leaking: RunDir) -> None:
    test = leaking.load_metrics()["test"]
    leak = test["leak"]
    assert leak["paths"] == ["test/ants/again.jpg", "test/bees/again.jpg"]
    assert (leak["groups"], leak["images"], leak["images_without"], leak["groups_without"]) == (2, 2, 6, 6)
    right = [row.right for row in leaking.load_predictions(leaking.load_metrics()) if "again" not in row.name]
    low, high = leak["accuracy_without_ci95"]
    assert leak["accuracy_without"] == pytest.approx(np.mean(right)) and low <= np.mean(right) <= high
    assert leaking.load_metrics()["val"]["leak"] is None, "folds keep near-duplicates together"


def test_analyze_and_run_count_the_same_leak_the_users_own_groups_included(leaking: RunDir, tmp_path: Path) -> None:
    images, table = images_of(leaking), tmp_path / "images.csv"
    # Of ants, 1 was trained on and 2 is scored; the copies of 0 say nothing new as a group of their own.
    patients = {
        "train/ants/1.png": "p1",
        "test/ants/2.png": "p1",
        "train/ants/0.png": "p0",
        "test/ants/again.jpg": "p0",
    }
    rows = [["path", "label", "split", "patient"]]
    for path in sorted(images.rglob("*.*g")):
        name = path.relative_to(images).as_posix()
        rows.append([str(path), path.parent.name, name.split("/")[0], patients.get(name, "")])
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    said = analyze_and_advise(table, device="cpu", group="patient").profile.health.split_leak
    assert said is not None and (said.groups, said.own, said.identical, said.images) == (3, 1, 0, 3)
    settings = [f"data.path={table}", "data.group=patient", *TINY]
    found = run_and_draw(load_recipe("linear_probe", settings), RunDir(tmp_path / "run")).load_metrics()["test"]["leak"]
    assert (found["groups"], found["images"]) == (said.groups, said.images)
    assert found["own_groups"] is True and leaking.load_metrics()["test"]["leak"]["own_groups"] is False


def test_every_place_that_shows_the_score_says_that_it_leaks(leaking: RunDir, tmp_path: Path) -> None:
    page = leaking.report.read_text(encoding="utf-8")
    assert page.index("are recognized") < page.index('class="alert"') < page.index(SAYS) < page.index('class="figures"')
    assert SAYS in called("diagnose", leaking.path).stdout
    assert SAYS in json.loads(leaking.diagnosis.read_text())["leak"]
    card = export(leaking, ExportForm.hub, out=tmp_path / "hub")
    assert SAYS in (card.path / "README.md").read_text()
    other = shutil.copytree(leaking.path, tmp_path / "other")
    compared = called("compare", leaking.path, other).stdout
    assert SAYS.replace("test images", "shared test images") in compared and "without leak" in compared


def test_run_ends_with_the_leak_and_the_command_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [word for one in (f"data.path={write_leaking(tmp_path / 'images')}", *TINY) for word in ("--set", one)]
    text = called("run", "linear_probe", *settings).stdout
    assert SAYS in text and "`finetune-advisor analyze` writes groups.csv" in text


def test_an_ensemble_of_leaking_runs_says_so(leaking: RunDir, tmp_path: Path) -> None:
    made = ensemble_and_draw([leaking], CrossValidation(members=2), RunDir(tmp_path / "both"))
    assert made.load_metrics()["test"]["leak"]["images"] == 2
    assert SAYS in made.report.read_text(encoding="utf-8")
    assert Ensemble.load(made.ensemble).gain.groups == 8
    found = evaluate_on(made, images_of(leaking) / "train")
    assert found["leak"]["identical"] == 16, "an ensemble knows the training images of its runs"  # type: ignore[index]


def test_evaluate_recognizes_training_images_under_other_names_and_forms(leaking: RunDir, tmp_path: Path) -> None:
    for name in ("ants", "bees"):
        (tmp_path / "new" / name).mkdir(parents=True)
    train = images_of(leaking) / "train"
    shutil.copy(train / "ants" / "1.png", tmp_path / "new" / "ants" / "renamed.png")
    with Image.open(train / "bees" / "2.png") as image:
        changed = ImageEnhance.Brightness(image.convert("RGB")).enhance(0.8).resize((200, 150))
        changed.save(tmp_path / "new" / "bees" / "darker.jpg", quality=70)
    picture(900).save(tmp_path / "new" / "ants" / "unseen.png")
    scores: Any = evaluate_on(leaking, tmp_path / "new")
    leak = scores["leak"]
    assert leak["paths"] == ["ants/renamed.png", "bees/darker.jpg"]
    assert leak["training_paths"] == ["train/ants/1.png", "train/bees/2.png"]
    assert (leak["images"], leak["identical"], leak["images_without"]) == (2, 1, 1)
    says = "2 of the 3 images are in the training data, as the same file or as a near-duplicate (2 groups; 1 the"
    assert says in called("evaluate", leaking.path, tmp_path / "new").stdout
    assert says in called("evaluate", leaking.path, tmp_path / "new", "--json").stderr


def test_evaluate_sees_images_of_more_than_8_bits_on_the_scale_of_the_training_images(tmp_path: Path) -> None:
    root, new = tmp_path / "images", tmp_path / "new"
    for label, name in enumerate(("ants", "bees")):
        (root / name).mkdir(parents=True)
        (new / name).mkdir(parents=True)
        for number in range(6):  # without a scale numbers below 0 and above 1 cannot be read at all
            values_HW = np.asarray(picture(100 * label + number).convert("L"), np.float32) * 3 - 200
            Image.fromarray(values_HW).save(root / name / f"{number}.tif")
            if number == 0:
                Image.fromarray(values_HW[::2, ::2]).save(new / name / "smaller.tif")
    settings = (f"data.path={root}", "preprocessing.value_range=[-200,565]", *TINY)
    run = run_and_draw(load_recipe("linear_probe", settings), RunDir(tmp_path / "run"))
    leak: Any = evaluate_on(run, new)["leak"]
    assert leak["training_paths"] == ["ants/0.tif", "bees/0.tif"] and leak["identical"] == 0


def test_a_renamed_training_folder_does_not_score_in_silence(leaking: RunDir, tmp_path: Path) -> None:
    copied = shutil.copytree(images_of(leaking) / "train", tmp_path / "a new set")
    text = called("evaluate", leaking.path, copied).stdout
    assert "16 of the 16 images are in the training data, as the same file or as a near-duplicate (16 groups" in text
    assert "says nothing about new images" in text


def test_unseen_images_are_not_said_to_be_known(leaking: RunDir, tmp_path: Path) -> None:
    for label, name in enumerate(("ants", "bees")):
        (tmp_path / "new" / name).mkdir(parents=True)
        for number in range(3):
            picture(2000 + 10 * label + number).save(tmp_path / "new" / name / f"{number}.png")
    assert evaluate_on(leaking, tmp_path / "new")["leak"] is None


@pytest.mark.parametrize("kind", ["exported", "of an earlier version", "damaged"])
def test_a_model_that_remembers_no_training_images_says_not_checked(leaking: RunDir, tmp_path: Path, kind: str) -> None:
    if kind == "exported":
        model = export(leaking, ExportForm.safetensors, out=tmp_path / "model").path
    else:
        model = shutil.copytree(leaking.path, tmp_path / "old")
        RunDir(model).training_images.unlink()
        if kind == "damaged":
            RunDir(model).training_images.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    text = called("evaluate", model, images_of(leaking)).stdout
    assert "Not checked whether the images have near-duplicates in the training data" in text
    assert "training_images.safetensors" in text


def test_analyze_offers_a_split_without_the_leak_which_a_run_then_has_not(
    leaking: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    require_place(Path("recipe.yaml"), Path("analysis"))
    analysis = analyze_and_advise(images_of(leaking), device="cpu")
    analysis.save(Path("recipe.yaml"), Path("analysis"))
    groups = Path("analysis/groups.csv")
    rows = list(csv.DictReader(groups.read_text().splitlines()))
    assert list(rows[0]) == ["path", "label", "split", "group"] and len(rows) == 24
    sides: dict[str, set[str]] = {}
    for row in rows:
        assert (groups.parent / row["path"]).is_file(), "paths are relative to the file"
        if row["group"]:
            sides.setdefault(row["group"], set()).add(row["split"])
    assert len(sides) == 2 and all(len(found) == 1 for found in sides.values())
    counts = {(row["split"], row["label"]) for row in rows}
    assert counts == {(split, label) for split in ("train", "test") for label in ("ants", "bees")}
    written = groups.read_bytes()
    again = analyze_and_advise(groups, device="cpu")
    assert again.profile.health.duplicates_across_splits == ()
    again.save(Path("recipe.yaml"), Path("analysis"))
    assert groups.read_bytes() == written, "what was analyzed is not written over"
    run = run_and_draw(load_recipe("linear_probe", [f"data.path={groups}", *TINY]), RunDir(tmp_path / "clean"))
    test = run.load_metrics()["test"]
    assert test["leak"] is None and "alert" not in run.report.read_text(encoding="utf-8").split("<main>")[1]
    assert test["images"] == 8


def test_groups_csv_of_an_archive_leads_into_the_archive_and_can_be_analyzed(leaking: RunDir, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "images"), "zip", images_of(leaking))
    analysis = analyze_and_advise(packed, device="cpu")
    analysis.save(tmp_path / "recipe.yaml", tmp_path / "analysis")
    groups = tmp_path / "analysis" / "groups.csv"
    rows = list(csv.DictReader(groups.read_text().splitlines()))
    assert {row["path"].rsplit("/", 3)[0] for row in rows} == {"../images.zip"}
    again = analyze_and_advise(groups, device="cpu").profile
    assert again.images == analysis.profile.images == 24
    assert again.health.duplicates_across_splits == () != analysis.profile.health.duplicates_across_splits


def test_groups_csv_is_left_out_where_only_a_sample_was_looked_at_and_that_is_said(
    leaking: RunDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "groups.csv").write_text("of an earlier analysis")
    analysis = analyze_and_advise(images_of(leaking), device="cpu", limit=12)
    with caplog.at_level(logging.INFO):
        analysis.save(tmp_path / "recipe.yaml", tmp_path / "analysis")
    assert "groups.csv is not written: only a sample of the images was looked at" in caplog.text
    assert not (tmp_path / "analysis" / "groups.csv").exists()


def test_images_that_changed_since_the_analysis_are_counted_and_its_profile_is_not_kept(
    leaking: RunDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = shutil.copytree(images_of(leaking), tmp_path / "images")
    profile = analyze_and_advise(data, device="cpu").profile
    recipe = load_recipe("linear_probe", [f"data.path={data}", *TINY])
    kept = run_and_draw(recipe, RunDir(tmp_path / "same"), profile=profile)
    assert kept.profile.is_file()
    picture(700).save(data / "train" / "ants" / "new.png")
    picture(701).save(data / "train" / "bees" / "1.png")
    (data / "train" / "bees" / "2.png").unlink()
    (data / "train" / "bees" / "3.png").unlink()
    with caplog.at_level(logging.WARNING):
        changed = run_and_draw(recipe, RunDir(tmp_path / "changed"), profile=profile)
    assert "1 added, 2 removed, 1 changed since" in caplog.text
    assert not changed.profile.exists()


def test_groups_of_the_users_are_behind_the_interval_and_leak_where_they_straddle(
    leaking: RunDir, tmp_path: Path
) -> None:
    images = images_of(leaking)
    group_of = {"test/ants/0.png": "a", "test/ants/1.png": "a", "test/ants/2.png": "b", "train/ants/7.png": "b"}
    rows = [["path", "label", "split", "group"]]
    for path in sorted(images.rglob("*.*g")):
        name = path.relative_to(images).as_posix()
        rows.append([str(path), path.parent.name, name.partition("/")[0], group_of.get(name, "")])
    with (tmp_path / "groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    recipe = load_recipe("linear_probe", [f"data.path={tmp_path / 'groups.csv'}", *TINY])
    run = run_and_draw(recipe, RunDir(tmp_path / "run"))
    test = run.load_metrics()["test"]
    assert (test["images"], test["accuracy_groups"]) == (8, 7)
    assert (test["leak"]["images"], test["leak"]["groups"]) == (3, 3)
    page = run.report.read_text(encoding="utf-8")
    assert "8 test images in 7 groups" in page
    assert "3 of the 8 test images have near-duplicates or images of their group in the training data" in page
    assert evaluate_on(run, tmp_path / "groups.csv")["accuracy_groups"] == 7
