"""`finetune-advisor analyze` and the files it writes or leaves alone."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.conftest import ImageFolder


@pytest.fixture
def analyzed(cli: Command, image_folder: ImageFolder) -> Path:
    """Images whose recipe.yaml has been written here."""
    data: Path = image_folder({"ants": 6, "bees": 6})
    cli("analyze", data, "--quiet")
    return data


def test_a_full_disk_leaves_the_previous_recipe(cli: Command, analyzed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(path: Path, data: bytes) -> int:
        if "recipe" in path.name:
            with path.open("wb") as stream:
                stream.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(path, data)

    written = Path.write_bytes
    before = Path("recipe.yaml").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", no_space)
    error = cli("analyze", analyzed, "--seed", 1, code=1).stderr
    assert "recipe.yaml: the disk is full" in error
    assert "Free some space" in error
    assert Path("recipe.yaml").read_bytes() == before
    assert {path.name for path in Path().iterdir()} == {"recipe.yaml", "analysis"}


def test_analyze_replaces_its_own_recipe_but_not_an_edited_one(cli: Command, analyzed: Path) -> None:
    first = Path("recipe.yaml").read_text()
    cli("analyze", analyzed, "--seed", 1)
    second = Path("recipe.yaml").read_text()
    assert first != second
    edited = second.replace("seed: 1", "seed: 7")
    Path("recipe.yaml").write_text(edited)
    error = cli("analyze", analyzed, code=1).stderr
    assert "recipe.yaml was edited by hand and is not overwritten" in error
    assert "--force" in error
    assert Path("recipe.yaml").read_text() == edited
    cli("analyze", analyzed, "-o", "other.yaml")
    assert Path("recipe.yaml").read_text() == edited
    cli("analyze", analyzed, "--force")
    assert "seed: 0" in Path("recipe.yaml").read_text()


def test_analyze_speaks_json_or_not_at_all(cli: Command, image_folder: ImageFolder) -> None:
    data = image_folder({"ants": 6, "bees": 6})
    document: Any = json.loads(cli("analyze", data, "--json").stdout)
    assert document == json.loads(Path("analysis/profile.json").read_text())
    assert cli("analyze", data, "--quiet").output == ""


@pytest.mark.parametrize("options", [["-o", "file/recipe.yaml"], ["--report-dir", "file"]], ids=" ".join)
def test_a_place_that_cannot_be_written_is_told_before_the_images_are_read(
    cli: Command, image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr("finetune_advisor.dataset.measure", lambda *_, **__: pytest.fail("the images were read"))
    Path("file").write_text("no folder")
    error = cli("analyze", image_folder({"ants": 6, "bees": 6}), *options, code=1).stderr
    assert "cannot write" in error and "expected a folder" in error
    assert [path.name for path in Path().iterdir()] == ["file"], "nothing is left behind"


def test_a_seed_that_numpy_does_not_take_is_a_usage_error(cli: Command, image_folder: ImageFolder) -> None:
    images = image_folder({"ants": 6, "bees": 6})
    assert "4294967295" in cli("analyze", images, "--seed", 2**32, code=2).stderr
    cli("analyze", images, "--seed", 2**32 - 1)
