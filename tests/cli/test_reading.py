"""How data is read, from the options of `analyze` by way of the recipe to `run` and `evaluate`."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path

import pytest
from rich.console import Console

from finetune_advisor.cli import console
from finetune_advisor.cli.options import Verbosity
from finetune_advisor.recipes.load import load_recipe
from tests.cli.conftest import Command
from tests.conftest import ImageFolder


@pytest.fixture
def table(image_folder: ImageFolder, tmp_path: Path) -> Path:
    """A table with column names of its own, classes that differ in case, a row without a label."""
    image_folder({"ants": 8, "bees": 8})
    path = tmp_path / "images" / "odd.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["where", "what", "patient_id", "is_valid"])
        for name in ("ants", "bees"):
            for number in range(7):
                label = name.title() if number % 3 == 0 else name
                rows.writerow([f"{name}/{number:03}.png", label, f"{name}{number // 2}", number in (2, 3)])
        rows.writerow(["ants/007.png", "NaN", "ants9", False])
    return path


def test_a_run_reads_the_columns_that_analyze_was_given(cli: Command, table: Path) -> None:
    options = ["--path-column", "where", "--label-column", "what", "--merge-classes", "--group", "patient_id"]
    result = cli("analyze", table, *options)
    for note in ("1 row without a label (line 16) left out", "Merged into one class each: 'Ants' = 'ants'"):
        assert note in result.stderr
        assert note in result.stdout, "it is a finding of health too"
        assert any(note in each for each in json.loads(Path("analysis/profile.json").read_text())["health"]["notes"])
        assert note.replace("'", "&#39;") in Path("analysis/report.html").read_text().replace("&#x27;", "&#39;")
    data = load_recipe(Path("recipe.yaml")).data
    assert (data.path_column, data.label_column, data.group) == ("where", "what", "patient_id")
    assert data.merge_classes
    cli("run", "--quiet")
    [run] = Path("runs").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["classes"] == ["ants", "bees"]
    splits = (run / "splits.csv").read_text()
    assert splits.count(",val") == 4, "is_valid is read as the split"
    other = table.with_name("other.csv")
    other.write_text(table.read_text().replace("Ants", "ANTS"))
    scores = json.loads(cli("evaluate", run, other, "--json").stdout)
    assert (scores["images"], scores["classes"]) == (14, ["ants", "bees"])


def test_evaluate_reads_the_table_in_an_archive_as_the_recipe_does(cli: Command, image_folder: ImageFolder) -> None:
    folder = image_folder({"ants": 8, "bees": 8})
    rows = [f"{name}/{number:03}.png,{number % 2},p{number // 2}" for name in ("ants", "bees") for number in range(8)]
    (folder / "meta.csv").write_text("\n".join(["where,what,nest", *rows]) + "\n")
    packed = shutil.make_archive("packed", "zip", folder)
    cli("analyze", packed, "--path-column", "where", "--label-column", "what", "--group", "nest", "--quiet")
    cli("run", "--quiet")
    [run] = Path("runs").iterdir()
    scores = json.loads(cli("evaluate", run, packed, "--json").stdout)
    assert (scores["classes"], scores["images"], scores["accuracy_groups"]) == (["0", "1"], 16, 4)
    (folder / "meta.csv").unlink()
    other = shutil.make_archive("other", "zip", folder)
    error = cli("evaluate", run, other, code=1).stderr
    assert "has classes this model does not know: ants, bees" in error, "read by the usual rules"


def test_a_table_for_evaluate_may_have_other_columns(cli: Command, probe_run: Path, new_images: Path) -> None:
    images = sorted(new_images.glob("*/*.png"))
    rows = "".join(f'"{path}"\t"{path.parent.name}"\n' for path in images)
    Path("usual.tsv").write_text("file_name\tcategory\n" + rows)
    Path("odd.tsv").write_text("where\twhat\n" + rows)
    usual = json.loads(cli("evaluate", probe_run, "usual.tsv", "--json").stdout)
    odd = cli("evaluate", probe_run, "odd.tsv", "--path-column", "where", "--label-column", "what", "--json").stdout
    assert usual == json.loads(odd)
    assert usual["images"] == len(images)
    assert "no column 'path'" in cli("evaluate", probe_run, "odd.tsv", code=1).stderr


def test_a_table_for_predict_may_have_another_column_and_separator(
    cli: Command, probe_run: Path, new_images: Path
) -> None:
    image = next(new_images.glob("*/*.png"))
    Path("images.csv").write_text(f"x;path\n1;{image}\n")
    Path("odd.csv").write_text(f"x,where\n1,{image}\n")
    first = cli("predict", probe_run, "images.csv").stdout
    assert str(image) in first
    assert cli("predict", probe_run, "odd.csv", "--path-column", "where").stdout == first


def test_everything_in_the_folder_of_the_images(
    cli: Command, image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(image_folder({"ants": 6, "bees": 6}))
    cli("analyze", ".", "--quiet")
    cli("run", "--quiet")
    first = json.loads(Path("analysis/profile.json").read_text())
    cli("analyze", ".", "--quiet")
    cli("run", "--quiet")
    second = json.loads(Path("analysis/profile.json").read_text())
    assert (second["classes"], second["images"]) == (["ants", "bees"], 12)
    assert second["health"] == first["health"]
    assert len(list(Path("runs").iterdir())) == 2


def test_which_folders_are_the_classes(cli: Command, image_folder: ImageFolder) -> None:
    data = image_folder({f"{site}/{name}": 4 for site in ("north", "south") for name in ("ants", "bees")})
    error = cli("analyze", data, code=1).stderr
    assert "north/ and south/ hold folders of the same names (ants, bees)" in error
    cli("analyze", data, "--class-folders", "inner", "--quiet")
    assert load_recipe(Path("recipe.yaml")).data.class_folders == "inner"
    cli("run", "--quiet")
    [run] = Path("runs").iterdir()
    assert json.loads((run / "metrics.json").read_text())["classes"] == ["ants", "bees"]
    packed = shutil.make_archive("packed", "zip", data)
    for new in (data, packed):
        assert json.loads(cli("evaluate", run, new, "--json").stdout)["images"] == 16, "read as the recipe says"
    assert "say so with --class-folders outer" in cli("evaluate", run, data / "north", code=1).stderr
    found = json.loads(cli("evaluate", run, data / "north", "--class-folders", "outer", "--json").stdout)
    assert found["images"] == 8


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Console:
    """Standard error as a terminal, whose text is kept; a second is short."""
    terminal = Console(stderr=True, force_terminal=True, width=100, record=True)
    monkeypatch.setattr(console, "err", terminal)
    monkeypatch.setattr(console, "_PATIENCE", 0.05)
    return terminal


def test_a_sign_of_life_while_a_large_tree_is_listed(screen: Console, capsys: pytest.CaptureFixture[str]) -> None:
    with console.listing_sign(Verbosity()):
        time.sleep(0.5)
    assert "listing the images" in capsys.readouterr().err


@pytest.mark.parametrize(("quiet", "as_json", "seconds"), [(True, False, 0.5), (False, True, 0.5), (False, False, 0.0)])
def test_no_sign_where_none_is_wanted_or_needed(
    screen: Console, capsys: pytest.CaptureFixture[str], quiet: bool, as_json: bool, seconds: float
) -> None:
    with console.listing_sign(Verbosity(quiet), as_json=as_json):
        time.sleep(seconds)
    assert "listing" not in capsys.readouterr().err


def test_the_sign_gives_way_to_the_first_bar(screen: Console, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(Verbosity(), waiting=console.LISTING) as bars:
        time.sleep(0.5)
        bars.show("looking at the images", 1, 2)
        capsys.readouterr()
        time.sleep(0.3)
        bars.show("looking at the images", 2, 2)
    shown = capsys.readouterr().err
    assert "looking at the images" in shown
    assert "listing" not in shown
