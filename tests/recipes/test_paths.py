"""Paths in files are relative to the file, wherever one stands; in memory, to where one stands."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import dump_recipe, load_recipe, recipe_for_file
from finetune_advisor.storage.paths import path_beside, path_for_file

Write = Callable[..., Path]

TEXT = "extends: few_layers\nname: mine\ndata: {path: data}\n"


@pytest.fixture
def project(tmp_path: Path, write: Write) -> Path:
    """A folder with a recipe and the images it means, and another folder beside it."""
    write(TEXT, "project/recipe.yaml")
    for folder in ("project/data", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path / "project"


@pytest.fixture
def no_note(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    caplog.set_level(logging.INFO)
    return lambda: caplog.text == ""


def there(recipe: Path, *overrides: str) -> Path:
    """What `data.path` leads to from here."""
    return Path(load_recipe(recipe, overrides).data.path).resolve()


@pytest.mark.parametrize("stand", ["project", "elsewhere", "project/data", "."])
def test_a_path_is_relative_to_the_recipe_wherever_one_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch, stand: str, no_note: Callable[[], bool]
) -> None:
    monkeypatch.chdir(project.parent / stand)
    for way in (project / "recipe.yaml", Path(os.path.relpath(project / "recipe.yaml"))):
        assert there(way) == project / "data"
    assert no_note()


def test_an_inherited_path_is_relative_to_the_file_that_was_named(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write(TEXT + "backbone: {weights: net.pth}\n", "team/base.yaml")
    shipped = write("extends: few_layers\nname: mine\n", "project/own.yaml")
    file = write("extends: ../team/base.yaml\n", "project/extended.yaml")
    monkeypatch.chdir(project.parent / "elsewhere")
    assert there(file) == project / "data" == there(shipped)
    assert load_recipe(file).backbone.weights == str(project / "net.pth")
    assert there(base) == base.parent / "data"


def test_a_shipped_recipe_and_an_edit_are_relative_to_where_one_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent / "elsewhere")
    (Path("data")).mkdir()
    assert load_recipe("few_layers").data.path == "./data"
    assert there(project / "recipe.yaml", "data.path=data") == Path.cwd() / "data"
    assert load_recipe(project / "recipe.yaml", ["backbone.weights=w.pth", "data.path=x"]).backbone.weights == "w.pth"


@pytest.mark.parametrize("text", ["hf:beans", "~/photos", "/photos"])
def test_what_depends_on_no_folder_stays_as_it_is(project: Path, write: Write, text: str) -> None:
    file = write(f"extends: few_layers\ndata: {{path: '{text}'}}\n", "project/other.yaml")
    assert load_recipe(file).data.path == text == path_for_file(text, project) == path_beside(text, project)
    assert load_recipe(file).backbone.weights == "bundled"


def test_a_path_that_is_only_where_one_stands_still_runs_with_a_note(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "data").rename(project.parent / "elsewhere" / "data")
    monkeypatch.chdir(project.parent / "elsewhere")
    assert there(project / "recipe.yaml") == Path.cwd() / "data"
    [note] = caplog.messages
    assert "there is no data beside the recipe" in note and str(Path.cwd() / "data") in note
    assert f"path: {Path.cwd() / 'data'}" in note, "what to write"


def test_two_places_that_differ_are_an_error_that_asks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = project.parent / "elsewhere" / "data"
    here.mkdir()
    monkeypatch.chdir(here.parent)
    recipe = project / "recipe.yaml"
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    [problem] = caught.value.problems
    assert (problem.key, problem.file, problem.line) == ("data.path", str(recipe), 3)
    assert str(project / "data") in problem.message and str(here) in problem.message
    assert f"--set data.path={project / 'data'}" in str(caught.value.hint)
    assert there(recipe, f"data.path={here}") == here, "an answer settles it"
    assert load_recipe(recipe, as_written=True).data.path == "data"


def test_one_place_by_two_names_is_no_question(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.parent / "elsewhere" / "data").symlink_to(project / "data")
    monkeypatch.chdir(project.parent / "elsewhere")
    assert there(project / "recipe.yaml") == project / "data"


@pytest.mark.parametrize(
    ("path", "folder", "written"),
    [
        ("data", ".", "data"),
        ("./data", ".", "./data"),
        ("../data", ".", "../data"),
        ("data", "sub", "../data"),
        ("data/images.csv", "sub/deep", "../../data/images.csv"),
        ("sub/data", "sub", "data"),
        ("{here}/sub/data", "sub", "data"),
        ("{here}/data", "sub", "{here}/data"),
        ("data", "../away", "{here}/data"),
        ("../away/data", "../away", "data"),
    ],
)
def test_a_written_path_is_relative_where_file_and_images_move_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, folder: str, written: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path, written = path.format(here=here), written.format(here=here)
    assert path_for_file(path, Path(folder)) == written
    place = Path(os.path.abspath(path))  # noqa: PTH100
    assert Path(os.path.abspath(path_beside(written, Path(folder)))) == place, "and read back"  # noqa: PTH100


def test_a_recipe_written_elsewhere_means_the_same_images_and_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    recipe = load_recipe("recipe.yaml", ["backbone.weights=nets/w.pth"])
    file = Path("sub") / "recipe.yaml"
    file.parent.mkdir()
    file.write_text(dump_recipe(recipe_for_file(recipe, file.parent)), encoding="utf-8")
    assert "path: ../data" in file.read_text(encoding="utf-8")
    monkeypatch.chdir(project.parent)
    moved = project.rename(project.parent / "moved")
    found = load_recipe(moved / file)
    assert (found.data.path, found.backbone.weights) == (str(moved / "data"), str(moved / "nets" / "w.pth"))
