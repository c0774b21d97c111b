"""`finetune-advisor evaluate`, as a person or a script calls it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_scores_are_shown_with_their_interval_and_every_class(cli: Command, probe_run: Path, new_images: Path) -> None:
    text = cli("evaluate", probe_run, new_images).stdout
    assert "1.000 [0.610, 1.000]" in text, "Wilson's interval of 6 of 6"
    assert all(name in text for name in ("ants", "bees, wild", "[red]wasps"))


def test_json_is_one_document(cli: Command, probe_run: Path, new_images: Path) -> None:
    scores = json.loads(cli("evaluate", probe_run, new_images, "--json").stdout)
    assert (scores["accuracy"], scores["images"], scores["bad_files"]) == (1, 6, {})
    assert scores["per_class"]["ants"] == {
        "precision": 1,
        "recall": 1,
        "recall_ci95": pytest.approx([0.342, 1], abs=1e-3),
        "f1": 1,
        "images": 2,
    }
    assert scores["leak"] is None and scores["accuracy_groups"] == 6


def test_bad_files_are_named_and_left_out(cli: Command, probe_run: Path, new_images: Path) -> None:
    (new_images / "ants" / "broken [/].png").parent.mkdir(parents=True)
    (new_images / "ants" / "broken [/].png").write_bytes(b"")
    text = cli("evaluate", probe_run, new_images).stdout
    assert "1 unreadable file left out: ants/broken [/].png" in text
    assert json.loads(cli("evaluate", probe_run, new_images, "--json").stdout)["images"] == 6


def test_classes_that_the_model_does_not_know(cli: Command, probe_run: Path, new_images: Path) -> None:
    (new_images / "ants").rename(new_images / "[b]ants")
    error = cli("evaluate", probe_run, new_images, code=1).stderr
    assert "has classes this model does not know: [b]ants" in error
    assert "It knows: [red]wasps, ants, bees, wild" in error


def test_a_class_that_is_not_there_is_no_mistake(cli: Command, probe_run: Path, new_images: Path) -> None:
    shutil.rmtree(new_images / "ants")
    assert json.loads(cli("evaluate", probe_run, new_images, "--json").stdout)["images"] == 4


@pytest.mark.parametrize(("data", "says"), [("nowhere", "There is no folder"), ("empty", "is empty")])
def test_no_images(cli: Command, probe_run: Path, data: str, says: str) -> None:
    Path("empty").mkdir()
    assert says in cli("evaluate", probe_run, data, code=1).stderr


def test_no_run(cli: Command, new_images: Path) -> None:
    Path("runs/ants-1").mkdir(parents=True)
    error = cli("evaluate", "runs/ant-1", new_images, code=1).stderr
    assert "There is no run folder runs/ant-1; did you mean 'ants-1'?" in error


def test_an_unfinished_run_says_how_to_go_on(cli: Command, probe_run: Path, new_images: Path) -> None:
    Path("half").mkdir()
    shutil.copy(probe_run / "recipe.yaml", "half")
    for command in ("evaluate", "predict"):
        error = cli(command, "half", new_images, code=1).stderr
        assert "The run in half has not finished" in error
        assert "finetune-advisor run --run-dir half --resume" in error


def test_images_of_the_training_are_warned_of_on_stderr(cli: Command, probe_run: Path) -> None:
    images = probe_run.parent / "images"
    result = cli("evaluate", probe_run, images, "--json")
    assert "18 of the 18 images are in the training data" in result.stderr
    assert json.loads(result.stdout)["images"] == 18


def test_the_result_cannot_be_silenced(cli: Command, probe_run: Path, new_images: Path) -> None:
    cli("evaluate", probe_run, new_images, "--quiet", code=2)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are always Unicode")
def test_names_that_are_not_utf8(cli: Command, probe_run: Path, new_images: Path, tmp_path: Path) -> None:
    """Of a class that the model knows, and of a bad file in it."""
    odd = os.fsdecode(b"caf\xe9")
    run = shutil.copytree(probe_run, tmp_path / "run")
    config = json.loads((run / "model" / "config.json").read_text())
    config["label_names"] = [odd if name == "ants" else name for name in config["label_names"]]
    (run / "model" / "config.json").write_text(json.dumps(config))
    (new_images / "ants").rename(new_images / odd)
    (new_images / odd / f"{odd}.png").write_bytes(b"")
    scores = json.loads(cli("evaluate", run, new_images, "--json").stdout_bytes.decode("utf-8"))
    assert scores["per_class"][odd]["images"] == 2
    assert scores["bad_files"] == {f"{odd}/{odd}.png": "the file is empty"}
    assert b"caf\xe9" in cli("evaluate", run, new_images).stdout_bytes
    assert os.fsencode(odd) in cli("predict", run, new_images, code=1).stdout_bytes
    [first, *_] = json.loads(cli("predict", run, new_images / odd, "--json", code=1).stdout_bytes.decode("utf-8"))
    assert first["prediction"] == odd


def test_out_writes_the_answer_to_each_image(cli: Command, probe_run: Path, new_images: Path) -> None:
    (new_images / "ants" / "broken.png").write_bytes(b"")
    cli("evaluate", probe_run, new_images, "-o", "answers.csv", "--batch", 4)
    with Path("answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and list(rows[0]) == ["path", "label", "prediction", "probability"]
    assert all(row["label"] == row["prediction"] == Path(row["path"]).parent.name for row in rows)
