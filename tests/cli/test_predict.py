"""`finetune-advisor predict`, as a person or a script calls it."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from finetune_advisor.cli import app
from tests.cli.conftest import Command
from tests.conftest import ImageFolder

CLASSES = ["[red]wasps", "ants", "bees, wild"]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [Path(row["path"]).name for row in rows]


def test_csv_has_a_column_for_every_class(cli: Command, probe_run: Path, new_images: Path) -> None:
    result = cli("predict", probe_run, new_images)
    rows = table(result.stdout)
    assert list(rows[0]) == ["path", "prediction", "probability", "error", *CLASSES]
    assert len(rows) == 6
    for row in rows:
        assert row["prediction"] == Path(row["path"]).parent.name
        assert row["error"] == ""
        assert sum(float(row[name]) for name in CLASSES) == pytest.approx(1, abs=1e-5)
        assert row["probability"] == row[row["prediction"]] == max((row[name] for name in CLASSES), key=float)
    assert result.stderr == ""


def test_no_class_takes_the_column_of_something_else(cli: Command, image_folder: ImageFolder, tiny: list[str]) -> None:
    classes = ["path", "error", "probability", "prediction", "label", "class:error"]
    data = image_folder(dict.fromkeys(classes, 3))
    cli("run", "linear_probe", *tiny, "--set", f"data.path={data}", "--run-dir", "out", "--quiet")
    rows = table(cli("predict", "out", data).stdout)
    columns = ["class:path", "class:error", "class:probability", "class:prediction", "label", "class:class:error"]
    assert sorted(rows[0]) == sorted(["path", "prediction", "probability", "error", *columns])
    for row in rows:
        assert Path(row["path"]).is_file() and row["error"] == "" and row["prediction"] in classes
        shares = [float(row[column]) for column in columns]
        assert sum(shares) == pytest.approx(1, abs=1e-5) and float(row["probability"]) == max(shares)
    header = Path("out/held_out.csv").read_text().splitlines()[0].split(",")
    assert len(set(header)) == len(header)


def test_json_and_json_lines_say_what_csv_says(cli: Command, probe_run: Path, new_images: Path) -> None:
    document = json.loads(cli("predict", probe_run, new_images, "--json").stdout)
    lines = cli("predict", probe_run, new_images, "--format", "jsonl").stdout.splitlines()
    rows = table(cli("predict", probe_run, new_images).stdout)
    assert [json.loads(line) for line in lines] == document
    for entry, row in zip(document, rows, strict=True):
        assert (entry["path"], entry["prediction"], entry["error"]) == (row["path"], row["prediction"], None)
        assert entry["classes"] == {name: float(row[name]) for name in CLASSES}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_out_writes_a_file_and_says_so_beside_the_result(
    cli: Command, probe_run: Path, new_images: Path, form: str
) -> None:
    printed = cli("predict", probe_run, new_images, "--format", form).stdout
    result = cli("predict", probe_run, new_images, "--format", form, "-o", "answers/new.txt")
    assert result.stdout == ""
    assert result.stderr == "6 answers written to answers/new.txt\n"
    assert cli("predict", probe_run, new_images, "-o", "answers/new.txt", "--quiet", "--format", form).output == ""
    assert Path("answers/new.txt").read_text() == printed
    assert [path.name for path in Path("answers").iterdir()] == ["new.txt"]


def test_json_and_out_write_the_document_to_the_file(cli: Command, probe_run: Path, new_images: Path) -> None:
    printed = json.loads(cli("predict", probe_run, new_images, "--json").stdout)
    result = cli("predict", probe_run, new_images, "--json", "-o", "answers.json")
    assert result.stdout == ""
    assert json.loads(Path("answers.json").read_text()) == printed
    (new_images / "ants" / "0.png").write_bytes(b"")
    cli("predict", probe_run, new_images, "--json", "-o", "answers.json", code=1)
    assert len(json.loads(Path("answers.json").read_text())) == 6


def test_files_folders_and_patterns_keep_their_order(cli: Command, probe_run: Path, new_images: Path) -> None:
    ants = new_images / "ants"
    rows = table(cli("predict", probe_run, ants / "1.png", f"{new_images}/*/0.png", ants).stdout)
    assert names(rows) == ["1.png", "0.png", "0.png", "0.png", "0.png", "1.png"]
    assert len(table(cli("predict", probe_run, f"{new_images}/**/*.png").stdout)) == 6


def test_a_file_whose_name_is_a_pattern_is_taken_at_its_word(cli: Command, probe_run: Path, new_images: Path) -> None:
    for name in ("a[1].png", "a1.png"):
        Image.open(new_images / "ants" / "0.png").save(name)
    assert names(table(cli("predict", probe_run, "a[1].png").stdout)) == ["a[1].png"]


def test_an_unreadable_file_is_named_and_the_others_go_on(cli: Command, probe_run: Path, new_images: Path) -> None:
    (new_images / "ants" / "0.png").write_bytes(b"")
    (new_images / "ants" / "1.png").write_bytes(b"just text")
    for form in ("csv", "jsonl"):
        result = cli("predict", probe_run, new_images, "--format", form, code=1)
        assert "2 of 6 files could not be read" in result.stderr
    rows = json.loads(cli("predict", probe_run, new_images, "--json", code=1).stdout)
    bad = {Path(row["path"]).name: row for row in rows if row["error"]}
    assert bad["0.png"]["error"] == "the file is empty"
    assert "it is not an image" in bad["1.png"]["error"]
    assert bad["0.png"]["prediction"] is bad["0.png"]["probability"] is bad["0.png"]["classes"] is None
    assert len(rows) == 6
    cli("predict", probe_run, new_images, "-o", "answers.csv", code=1)
    assert len(table(Path("answers.csv").read_text())) == 6


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "There is no file or folder nowhere"),
        ("*.png", "no file matches it as a pattern"),
        ("empty", "No images in empty"),
    ],
)
def test_nothing_to_look_at(cli: Command, probe_run: Path, path: str, says: str) -> None:
    Path("empty").mkdir()
    assert says in cli("predict", probe_run, path, code=1).stderr


@pytest.mark.parametrize(
    ("run", "says"), [("nowhere", "There is no run folder nowhere"), ("empty", "empty/model holds no config.json")]
)
def test_no_run_to_ask(cli: Command, new_images: Path, run: str, says: str) -> None:
    Path("empty").mkdir()
    Path("answers.csv").write_text("yesterday's")
    error = cli("predict", run, new_images, "-o", "answers.csv", code=1).stderr
    assert says in error
    assert Path("answers.csv").read_text() == "yesterday's"


def test_usage(cli: Command, probe_run: Path) -> None:
    cli("predict", probe_run, code=2)
    cli("predict", probe_run, "x.png", "--format", "xlsx", code=2)


def test_paths_that_look_like_markup(cli: Command, probe_run: Path, new_images: Path) -> None:
    folder = Path("[red]x[")
    (folder / "red]").mkdir(parents=True)
    Image.open(new_images / "ants" / "0.png").save(folder / "red]" / "a,b.png")
    for path in ("[red]x[", "[red]x[/red]/a,b.png"):
        [row] = table(cli("predict", probe_run, path).stdout)
        assert row["path"] == "[red]x[/red]/a,b.png"
        [entry] = json.loads(cli("predict", probe_run, path, "--json").stdout)
        assert entry["path"] == row["path"]
    assert "[red]x[/red]/none.png" in cli("predict", probe_run, "[red]x[/red]/none.png", code=1).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are always Unicode")
def test_a_file_name_that_is_not_utf8_comes_out_as_it_is(cli: Command, probe_run: Path, new_images: Path) -> None:
    name = b"caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes((new_images / "ants" / "0.png").read_bytes())
    assert name in cli("predict", probe_run, ".").stdout_bytes
    cli("predict", probe_run, ".", "-o", "answers")
    assert name in Path("answers").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are always Unicode")
@pytest.mark.parametrize("arguments", [["--format", "jsonl"], ["--json"]])
def test_json_stays_json_with_a_file_name_that_is_not_utf8(
    cli: Command, probe_run: Path, new_images: Path, arguments: list[str]
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Path(name).write_bytes((new_images / "ants" / "0.png").read_bytes())
    printed = cli("predict", probe_run, ".", *arguments).stdout_bytes
    cli("predict", probe_run, ".", *arguments, "-o", "answers")
    for text in (printed, Path("answers").read_bytes()):
        document = json.loads(text.decode("utf-8"))
        [row] = document if isinstance(document, list) else [document]
        assert row["path"] == name


def test_top_gives_the_most_probable_classes_first(cli: Command, probe_run: Path, new_images: Path) -> None:
    everything = json.loads(cli("predict", probe_run, new_images, "--json").stdout)
    document = json.loads(cli("predict", probe_run, new_images, "--json", "--top", 2).stdout)
    rows = table(cli("predict", probe_run, new_images, "--top", 2).stdout)
    for whole, entry, row in zip(everything, document, rows, strict=True):
        ranked = sorted(whole["classes"].items(), key=lambda item: -item[1])[:2]
        assert list(entry["classes"].items()) == ranked
        assert list(row) == ["path", "prediction", "probability", "error", "prediction_2", "probability_2"]
        assert [(row["prediction"], float(row["probability"])), (row["prediction_2"], float(row["probability_2"]))] == (
            ranked
        )
    [row] = table(cli("predict", probe_run, new_images / "ants" / "0.png", "--top", 5).stdout)
    assert row["prediction_3"] and row["prediction_5"] == row["probability_5"] == "", "there are three classes"


def test_top_leaves_unreadable_files_their_row(cli: Command, probe_run: Path, new_images: Path) -> None:
    (new_images / "ants" / "0.png").write_bytes(b"")
    rows = table(cli("predict", probe_run, new_images / "ants", "--top", 2, code=1).stdout)
    assert [row["prediction_2"] == "" for row in rows] == [True, False]


def test_paths_from_a_table_and_from_standard_input(probe_run: Path, new_images: Path, tmp_path: Path) -> None:
    files = sorted(new_images.rglob("*.png"))
    names_in_table = new_images / "images.csv"
    names_in_table.write_text("path\n" + "".join(f'"{path.relative_to(new_images)}"\n' for path in files))
    typed = "".join(f"{path}\n" for path in files)
    outputs = [
        CliRunner().invoke(app, ["predict", str(probe_run), what], input=typed, catch_exceptions=False).stdout
        for what in (str(new_images), str(names_in_table), "-")
    ]
    assert len(table(outputs[0])) == 6 and outputs[0] == outputs[1] == outputs[2]


def test_an_image_of_zero_size_is_named(cli: Command, probe_run: Path, tmp_path: Path) -> None:
    (tmp_path / "flat.ppm").write_bytes(b"P6 0 5 255\n")
    (tmp_path / "flat.gif").write_bytes(b"GIF89a\0\0\0\0\0\0\0;")
    rows = table(cli("predict", probe_run, tmp_path / "flat.ppm", tmp_path / "flat.gif", code=1).stdout)
    assert all(row["error"] and not row["prediction"] for row in rows)


def test_the_batch_changes_no_answer(cli: Command, probe_run: Path, new_images: Path) -> None:
    answers = [json.loads(cli("predict", probe_run, new_images, "--json", "--batch", n).stdout) for n in (1, 4)]
    for one, four in zip(*answers, strict=True):
        assert one["classes"] == pytest.approx(four["classes"], abs=1e-5)
