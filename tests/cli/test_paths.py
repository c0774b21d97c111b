"""A recipe means its own images, whatever command reads it and wherever one stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_advisor.diagnosis.diagnose import edited_recipe
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.diagnosis import Diagnosis, Edit, Finding
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.workflows.run import profile_beside
from tests.cli.conftest import Command
from tests.conftest import ImageFolder


def test_analyze_writes_where_the_images_are_from_the_recipe_and_every_command_agrees(
    cli: Command, tiny: list[str], image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = image_folder({"ants": 8, "bees": 8}, name="project/data").parent
    elsewhere = image_folder({"ants": 5, "cats": 5}, name="elsewhere/photos").parent
    monkeypatch.chdir(project)
    cli("analyze", "data", "-o", "sub/recipe.yaml", "--quiet")
    recipe = project / "sub" / "recipe.yaml"
    assert "path: ../data" in recipe.read_text(encoding="utf-8")
    assert "../data" in (project / "sub/analysis/report.html").read_text(encoding="utf-8")
    assert json.loads((project / "sub/analysis/profile.json").read_text())["data"] == "../../data"

    monkeypatch.chdir(elsewhere)
    found = load_recipe(recipe)
    assert found.data.path == str(project / "data")
    profile = profile_beside(recipe, found)
    assert profile is not None and profile.data == str(project / "data")
    assert cli("doctor", recipe).exit_code == 0
    assert "train 12 · val 4" in cli("run", recipe, *tiny, "--dry-run").stdout
    cli("run", recipe, *tiny, "--set", "strategy={kind: linear_probe}", "--run-dir", "run")
    assert load_recipe(Path("run/recipe.yaml")).data.path == str(project / "data")
    assert (elsewhere / "run" / "profile.json").is_file(), "the analysis beside the recipe"

    monkeypatch.chdir(project.parent)
    again = cli("run", "elsewhere/run/recipe.yaml", "--run-dir", "again").stdout
    assert "wrote" in again.lower()
    here = cli("run", recipe, *tiny, "--set", "data.path=elsewhere/photos", "--dry-run").stdout
    assert "train 8 · val 2" in here


def test_the_data_that_a_command_names_is_relative_to_where_one_stands(cli: Command, image_folder: ImageFolder) -> None:
    image_folder({"ants": 4, "bees": 4}, name="here/123")
    Path("sub").mkdir()
    cli("recipes", "copy", "few_layers", "sub/mine.yaml")
    assert "6 images" in cli("recipes", "preview", "sub/mine.yaml", "123").stdout


def test_an_edited_recipe_is_written_for_its_own_folder(
    probe_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = Path(load_recipe(probe_run / "recipe.yaml").data.path)
    monkeypatch.chdir(images.parent)
    edit = Edit(key="seed", value=3, reason="another one")
    finding = Finding(sign="plateau", title="", evidence="", meaning="", edits=(edit,))
    diagnosis = Diagnosis(run="run", finished=True, healthy="", findings=(finding,))
    assert "path: images" in edited_recipe(RunDir(probe_run), diagnosis, images.parent)
    assert f"path: {images}" in edited_recipe(RunDir(probe_run), diagnosis, tmp_path)


def test_a_name_that_is_too_long_for_a_path_is_an_error_in_plain_words(cli: Command, probe_run: Path) -> None:
    for words in (("analyze", "x" * 400), ("predict", probe_run, "x" * 400 + ".jpg")):
        assert "is too long for a path" in cli(*words, code=1).stderr
