"""`finetune-advisor export`, as a person or a script calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Command


def test_it_says_where_the_model_is_and_how_it_compares(
    cli: Command, probe_run: Path, new_images: Path, tmp_path: Path
) -> None:
    text = cli("export", probe_run, "--format", "hub", "-o", "out").stdout
    assert "out" in text and "the same class on" in text and "real images" in text
    document = json.loads(
        cli("export", probe_run, "--format", "safetensors", "-o", "plain", "--images", new_images, "--json").stdout
    )
    assert (document["images"], document["same_class"], document["largest_difference"]) == (6, 6, 0)
    assert document["path"] == "plain" and Path("plain/model.safetensors").is_file()
    answers = [cli("predict", folder, new_images).stdout for folder in (probe_run, "out", "plain")]
    assert answers[0] == answers[1] == answers[2]


def test_mistakes(cli: Command, probe_run: Path) -> None:
    cli("export", probe_run, code=2)
    cli("export", probe_run, "--format", "coreml", code=2)
    assert "There is no run folder nowhere" in cli("export", "nowhere", "--format", "hub", code=1).stderr
    Path("half").mkdir()
    shutil.copy(probe_run / "recipe.yaml", "half")
    assert "has not finished" in cli("export", "half", "--format", "onnx", code=1).stderr
    assert "There is no file or folder" in (
        cli("export", probe_run, "--format", "hub", "-o", "out", "--images", "none.png", code=1).stderr
    )
