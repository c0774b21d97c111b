"""Every command on every stdout: other encodings than UTF-8, a full disk, a limit of the shell, a closed pipe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.cli import app
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.workflows.run import run_and_draw

ENCODINGS = ["cp1252", "latin-1", "ascii"]
TINY = ["backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=64", "runtime.workers=0"]
CLASSES = {"Käfer": (200, 60, 60), "漢字 🐞": (60, 200, 60), "→ plain": (60, 60, 200)}
SET = [word for setting in TINY for word in ("--set", setting)]

Speak = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose class names no narrow encoding holds; beside it are `images` and `copy`, the same run."""
    folder = tmp_path_factory.mktemp("letters")
    rng = np.random.default_rng(0)
    for split, (name, color) in product(("train", "test"), CLASSES.items()):
        place = folder / "images" / split / name
        place.mkdir(parents=True)
        for number in range(6):
            pixels_HWC = rng.normal(color, 25.0, (32, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels_HWC).save(place / f"{number}.png")
    recipe = load_recipe("linear_probe", [f"data.path={folder / 'images'}", *TINY])
    for name in ("copy", "run"):
        run_and_draw(recipe, RunDir(folder / name))
    return folder / "run"


@pytest.fixture
def speak(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Speak:
    """`speak(encoding, *arguments)` calls a command whose stdout and stderr have an encoding; returns stdout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(encoding: str, *arguments: object, code: int = 0) -> str:
        words = [str(each).replace("RUN", str(run)).replace("DATA", str(run.parent / "images")) for each in arguments]
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as ended:
                app(words, prog_name="finetune-advisor")
        written = [stream.buffer.getvalue() for stream in streams]
        assert ended.value.code == code, written
        written[1].decode(encoding)
        return str(written[0].decode("utf-8" if words[0] == "predict" and "--json" not in words else encoding))

    return call


WORDS = {
    "help": ["--help"],
    "help of a command": ["run", "--help"],
    "recipes list": ["recipes", "list"],
    "recipes show": ["recipes", "show", "few_layers"],
    "recipes diff": ["recipes", "diff", "few_layers", "RUN/recipe.yaml"],
    "recipes validate": ["recipes", "validate", "RUN/recipe.yaml"],
    "recipes copy": ["recipes", "copy", "few_layers", "new.yaml"],
    "recipes preview": ["recipes", "preview", "few_layers", "DATA", "--set", "preprocessing.size=64"],
    "techniques": ["techniques"],
    "techniques of a name": ["techniques", "strategy"],
    "techniques as a page": ["techniques", "--markdown"],
    "backbones": ["backbones"],
    "doctor": ["doctor", "RUN/recipe.yaml"],
    "analyze": ["analyze", "DATA"],
    "run": ["run", "linear_probe", "--set", "data.path=DATA", *SET],
    "run, the plan": ["run", "few_layers", "--set", "data.path=DATA", *SET, "--dry-run"],
    "diagnose": ["diagnose", "RUN"],
    "report": ["report", "RUN"],
    "ensemble": ["ensemble", "RUN", "--kind", "cross_validation", "-o", "several"],
    "compare": ["compare", "RUN", "RUN/../copy"],
    "evaluate": ["evaluate", "RUN", "DATA", "-o", "answers.csv"],
    "predict": ["predict", "RUN", "DATA"],
    "export": ["export", "RUN", "--format", "hub", "-o", "model"],
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("arguments", WORDS.values(), ids=WORDS)
def test_no_command_stumbles_over_the_encoding_of_stdout(speak: Speak, arguments: list[str], encoding: str) -> None:
    assert speak(encoding, *arguments).strip()


def test_every_command_is_among_them(speak: Speak) -> None:
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names - {words[0] for words in WORDS.values()} == {"demo"}, "which prints what analyze and run print"


def test_an_error_is_told_in_any_encoding(speak: Speak) -> None:
    speak("ascii", "predict", "RUN", "漢字.png", code=1)
    speak("ascii", "techniques", "漢字", code=1)
    speak("ascii", "run", "--wrong-option-→", code=2)


JSON = {name: WORDS[name] for name in ("doctor", "analyze", "compare", "evaluate", "predict", "export")}


@pytest.mark.parametrize("arguments", JSON.values(), ids=JSON)
def test_json_is_the_same_document_in_plain_ascii_where_stdout_is_not_utf8(speak: Speak, arguments: list[str]) -> None:
    plain, whole = (speak(encoding, *arguments, "--json") for encoding in ("cp1252", "utf-8"))
    assert plain.isascii()
    assert len(json.loads(plain)) == len(json.loads(whole)), "the same keys"
    if arguments[0] in ("predict", "evaluate"):
        assert json.loads(plain) == json.loads(whole)
        assert "漢字 🐞" in whole


def test_a_table_of_predictions_is_utf8_and_json_lines_are_escaped(speak: Speak) -> None:
    assert "漢字 🐞" in speak("ascii", "predict", "RUN", "DATA").splitlines()[0]
    lines = speak("ascii", "predict", "RUN", "DATA", "--format", "jsonl")
    assert lines.isascii() and {json.loads(line)["prediction"] for line in lines.splitlines()} == set(CLASSES)


def test_what_an_encoding_lacks_has_a_plain_form(speak: Speak) -> None:
    shown = speak("ascii", "evaluate", "RUN", "DATA")
    assert "K\\xe4fer" in shown and "> plain" in shown
    assert "Käfer" in speak("latin-1", "evaluate", "RUN", "DATA")


# Processes of their own


def command(*arguments: str, **settings: str) -> str:
    """A command line of a shell, with settings before it."""
    before = [f"{name}={value}" for name, value in settings.items()]
    return " ".join([*before, f"'{sys.executable}' -m finetune_advisor", *(f"'{each}'" for each in arguments)])


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    found = {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = ["bash", "-c", line]
    return subprocess.run(words, cwd=folder, env={**os.environ, **found}, capture_output=True, text=True, check=False)


linux = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")


@linux
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_stdout_is_an_error_of_one_line(tmp_path: Path, unbuffered: str) -> None:
    done = shell(f"{command('techniques', PYTHONUNBUFFERED=unbuffered)} > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: cannot write to standard output: the disk is full"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@linux
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path, unbuffered: str) -> None:
    line = command("techniques", "--json", PYTHONUNBUFFERED=unbuffered)
    done = shell(f"ulimit -f 8; {line} > out.json", tmp_path)
    assert done.returncode == 1
    assert "cannot write to standard output: the file would be larger" in done.stderr
    assert "ulimit -f unlimited" in done.stderr and "Traceback" not in done.stderr
    done = shell(f"ulimit -f 1; {command('recipes', 'copy', 'few_layers', 'new.yaml')}", tmp_path)
    assert done.returncode == 1
    assert "/new.yaml: the file would be larger" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"], "nothing half-written"


@linux
def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    done = shell(f"{{ {command('techniques', '--json')}; echo code $? >&2; }} | head -n 1", tmp_path)
    assert done.stdout == "[\n"
    assert done.stderr == "code 1\n"


@linux
@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_a_process_in_another_encoding_analyzes(run: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    """Its file names are then bytes to Python too."""
    line = command("analyze", str(run.parent / "images"), PYTHONUTF8="0", **settings)
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Expected" in done.stdout and done.stdout.isascii()
    assert (tmp_path / "analysis" / "report.html").is_file()
