"""`finetune-advisor evaluate`, as a person or a script calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


def test_scores_are_shown_with_their_interval_and_every_class(cli, probe_run, new_images) -> None:
    text = cli("evaluate", probe_run, new_images).stdout
    assert "1.000 [0.610, 1.000]" in text, "Wilson's interval of 6 of 6"
    assert all(name in text for name in ("ants", "bees, wild", "[red]wasps"))


def test_json_is_one_document(cli, probe_run, new_images) -> None:
    scores = json.loads(cli("evaluate", probe_run, new_images, "--json").stdout)
    assert (scores["accuracy"], scores["images"], scores["bad_files"]) == (1, 6, {})
    assert scores["per_class"]["ants"] == {"precision": 1, "recall": 1, "f1": 1, "images": 2}


def test_bad_files_are_named_and_left_out(cli, probe_run, new_images) -> None:
    (new_images / "ants" / "broken [/].png").parent.mkdir(parents=True)
    (new_images / "ants" / "broken [/].png").write_bytes(b"")
    text = cli("evaluate", probe_run, new_images).stdout
    assert "1 unreadable files were left out: ants/broken [/].png" in text
    assert json.loads(cli("evaluate", probe_run, new_images, "--json").stdout)["images"] == 6


def test_classes_that_the_model_does_not_know(cli, probe_run, new_images) -> None:
    (new_images / "ants").rename(new_images / "[b]ants")
    error = cli("evaluate", probe_run, new_images, code=1).stderr
    assert "has classes this model does not know: [b]ants" in error
    assert "It knows: [red]wasps, ants, bees, wild" in error


def test_a_class_that_is_not_there_is_no_mistake(cli, probe_run, new_images) -> None:
    shutil.rmtree(new_images / "ants")
    assert json.loads(cli("evaluate", probe_run, new_images, "--json").stdout)["images"] == 4


@pytest.mark.parametrize(("data", "says"), [("nowhere", "There is no folder"), ("empty", "is empty")])
def test_no_images(cli, probe_run, data, says) -> None:
    Path("empty").mkdir()
    assert says in cli("evaluate", probe_run, data, code=1).stderr


def test_no_run(cli, new_images) -> None:
    assert "holds no config.json" in cli("evaluate", "nowhere", new_images, code=1).stderr
