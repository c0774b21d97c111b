"""Whatever is wrong with images or recipe: exit code 1, what and how to mend it, and nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Command
from tests.conftest import ImageFolder

Mistake = Callable[[Path], None]


def picture(path: Path, color: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 32), color).save(path)


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 3,600,000,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def nothing(root: Path) -> None:
    """There is no such folder."""


def empty(root: Path) -> None:
    root.mkdir()


def a_file(root: Path) -> None:
    picture(root.with_suffix(".png"))
    root.with_suffix(".png").rename(root)


def no_class_folders(root: Path) -> None:
    picture(root / "0.png")


def one_class(root: Path) -> None:
    for number in range(3):
        picture(root / "ants" / f"{number}.png")


def a_class_with_one(root: Path) -> None:
    one_class(root)
    picture(root / "bees" / "0.png")


def a_class_with_none(root: Path) -> None:
    one_class(root)
    (root / "bees").mkdir()
    (root / "bees" / "notes.txt").write_text("to do")


def all_corrupt(root: Path) -> None:
    for name in ("ants", "bees"):
        for number in range(3):
            picture(root / name / f"{number}.png")
            (root / name / f"{number}.png").write_bytes(b"")


def corrupt_but_one(root: Path) -> None:
    all_corrupt(root)
    for color, name in (("red", "ants/0"), ("green", "ants/1"), ("blue", "bees/0")):
        picture(root / f"{name}.png", color)


MISTAKES: list[tuple[Mistake, str, str]] = [
    (nothing, "There is no folder", "images"),
    (empty, "is empty", "Expected one folder of images per class"),
    (a_file, "is a file", "Expected a folder"),
    (no_class_folders, "1 image (such as 0.png) but no class folders", "finetune-advisor predict"),
    (one_class, "only one class, 'ants'", "at least two classes"),
    (a_class_with_one, "single image to train on: bees", "add some or remove"),
    (a_class_with_none, "without images: bees (only 1 other file such as notes.txt)", "add some or remove"),
    (all_corrupt, "None of the 6 image files", "Replace them"),
    (corrupt_but_one, "training images are left in: bees", "the unreadable files"),
]


@pytest.mark.parametrize("command", ["analyze", "linear_probe", "few_layers", "plan"])
@pytest.mark.parametrize(("mistake", "says", "hint"), MISTAKES, ids=[mistake.__name__ for mistake, *_ in MISTAKES])
def test_images_that_cannot_be_used(
    cli: Command, tiny: list[str], tmp_path: Path, command: str, mistake: Mistake, says: str, hint: str
) -> None:
    root = tmp_path / "images"
    mistake(root)
    if command == "analyze":
        error = cli("analyze", root, code=1).stderr
    else:
        base, *options = ["few_layers", "--dry-run"] if command == "plan" else [command]
        error = cli("run", base, *tiny, "--set", f"data.path={root}", *options, code=1).stderr
    assert says in error
    assert hint in error
    assert not any(Path().iterdir()), "nothing is left behind"


@pytest.fixture
def some_corrupt(image_folder: ImageFolder) -> Path:
    root: Path = image_folder({"ants": 6, "bees": 6})
    (root / "ants" / "empty.jpg").write_bytes(b"")
    (root / "ants" / "letter.jpg").write_text("Dear reader")
    (root / "bees" / "page.png").write_text("<!DOCTYPE html><html>404")
    whole = (root / "bees" / "000.png").read_bytes()
    (root / "bees" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "bees" / "link.png").symlink_to(root / "nowhere.png")
    (root / "bees" / "notes.txt").write_text("no image, and not called one")
    bomb(root / "bees" / "bomb.png")
    return root


BAD = {
    "ants/empty.jpg": "the file is empty",
    "ants/letter.jpg": "it is not an image",
    "bees/page.png": "a web page",
    "bees/cut.png": "cut short",
    "bees/link.png": "",
    "bees/bomb.png": "more than the limit",
}


def assert_bad(found: dict[str, str]) -> None:
    assert found.keys() == BAD.keys()
    for name, reason in found.items():
        assert BAD[name] in reason, name
        assert reason


def test_bad_files_are_named_counted_and_left_out(cli: Command, tiny: list[str], some_corrupt: Path) -> None:
    result = cli("analyze", some_corrupt)
    profile = json.loads(Path("analysis/profile.json").read_text())
    assert_bad({bad["path"]: bad["reason"] for bad in profile["health"]["bad_files"]})
    assert profile["health"]["ignored_files"] == ["bees/notes.txt"]
    assert profile["images"] == 12
    assert "6 unreadable files" in result.stdout
    for name in BAD:
        assert f"left out: {name}: " in result.stderr
    for base in ("linear_probe", "few_layers"):
        short = ["--set", "budget.epochs=1"] if base == "few_layers" else []
        cli("run", base, *tiny, "--set", f"data.path={some_corrupt}", *short, "--run-dir", base)
        assert_bad(json.loads(Path(f"{base}/metrics.json").read_text())["bad_files"])
        assert len(Path(f"{base}/splits.csv").read_text().splitlines()) == 13


AS_NOBODY = """
import json, os, sys
from typer.testing import CliRunner
from finetune_advisor.cli import app

os.umask(0)
first, *rest = json.loads(sys.argv[1])
# The interpreter itself may be out of reach of the user: everything is imported by the first command.
assert CliRunner().invoke(app, first).exit_code == 0
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
results = [CliRunner(env={"COLUMNS": "200"}).invoke(app, words) for words in rest]
print(json.dumps([[result.exit_code, result.output, repr(result.exception)] for result in results]))
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def as_nobody(*commands: list[str], home: Path) -> list[tuple[int, str, str]]:
    """What commands say to a user who owns nothing, after a first one; skips where there is no such user."""
    ended = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env=os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(home / "cache")},
    )
    if ended.returncode:
        pytest.skip(f"no unprivileged process to be had here: {ended.stderr.splitlines()[-1]}")
    return [tuple(answer) for answer in json.loads(ended.stdout)]


def test_files_and_folders_that_may_not_be_read_are_named(tiny: list[str], public: Path) -> None:
    for data in ("fine", "file", "folder"):
        for number, color in enumerate(("red", "green", "blue", "gold", "navy", "pink")):
            picture(public / data / ("ants" if number % 2 else "bees") / f"{number}.png", color)
    (public / "file" / "ants" / "1.png").chmod(0)
    (public / "folder" / "ants").chmod(0)
    commands = [
        ["run", "linear_probe", *tiny, "--set", f"data.path={public / data}", "--run-dir", f"runs/{data}"]
        for data in ("fine", "file", "folder")
    ]
    [with_file, with_folder] = as_nobody(*commands, home=public)
    assert with_file[0] == 0, with_file
    assert "left out: ants/1.png: " in with_file[1]
    assert len(json.loads((public / "runs" / "file" / "metrics.json").read_text())["bad_files"]) == 1
    assert with_folder[0] == 1, with_folder
    assert f"No permission to read the folder {public / 'folder' / 'ants'}" in with_folder[1]
    assert not (public / "runs" / "folder").exists()


RECIPES: list[tuple[str, list[str]]] = [
    ("extends: few_layers\noptimizr:\n  lr: 0.1\n", ["optimizr", "optimizer", ":2:"]),
    ("extends: few_layers\noptimizer:\n  lrr: 0.1\n", ["optimizer.lrr", "lr", ":3:"]),
    ("extends: few_layers\noptimizer:\n  lr: fast\n", ["optimizer.lr", "fast", ":3:"]),
    ("extends: few_layers\noptimizer:\n  lr: -1\n", ["optimizer.lr", "must be more than 0", ":3:"]),
    (
        "extends: few_layers\nseed: -1\nbudget:\n  epochs: many\nruntime:\n  worker: 2\n",
        ["3 problems", "seed", "epochs"],
    ),
    ("extends: few_layerz\n", ["few_layerz", "few_layers"]),
    ("extends: linear_probe\noptimizer:\n  kind: sgd\n", ["optimizer", "would be ignored"]),
    ("strategy: [unclosed\n", ["YAML"]),
    ("just text\n", ["recipe"]),
    ("", ["found nothing"]),
    ("\x00\x01\x02", ["YAML"]),
]


@pytest.mark.parametrize(("text", "says"), RECIPES, ids=[text.partition("\n")[0][:20] or "?" for text, _ in RECIPES])
def test_recipes_that_cannot_be_used(cli: Command, text: str, says: list[str]) -> None:
    Path("mine.yaml").write_text(text)
    for arguments in (["run", "mine.yaml"], ["run", "mine.yaml", "--dry-run"], ["recipes", "validate", "mine.yaml"]):
        error = cli(*arguments, code=1).stderr
        for word in says:
            assert word.lower() in error.lower(), f"{arguments}: {error}"
    assert [path.name for path in Path().iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["backbone.name=resnot18"], "did you mean 'resnet18'?"),
        (["backbone.weights=bundled"], "no weights of mobilenetv3_small_050 are bundled"),
        (["backbone.weights=gone.pth"], "gone.pth does not exist"),
        (["strategy.stages=[blocks.33]"], "did you mean 'blocks.3'"),
        (["strategy.stages=[]"], "strategy.stages"),
        (["strategy.kind=stage_prob"], "stage_probe"),
        (["preprocessing.size=20"], "preprocessing.size"),
        (["optimizer.lr=0.1"], "optimizer"),
        (["nonsense"], "nonsense"),
    ],
)
def test_settings_that_lead_nowhere(
    cli: Command, tiny: list[str], image_folder: ImageFolder, changes: list[str], says: str
) -> None:
    words = [word for change in changes for word in ("--set", change)]
    data = f"data.path={image_folder({'ants': 4, 'bees': 4})}"
    error = cli("run", "stage_probe", *tiny, "--set", data, *words, code=1).stderr
    assert says in error
    assert not any(Path().iterdir())


def test_a_recipe_whose_images_moved_away(cli: Command, tiny: list[str], image_folder: ImageFolder) -> None:
    data = image_folder({"ants": 6, "bees": 6})
    cli("analyze", data)
    data.rename(data.with_name("image"))
    error = cli("run", code=1).stderr
    assert f"There is no folder {data}" in error
    assert "did you mean 'image'?" in error
    assert not Path("runs").exists()
    cli("run", "--set", f"data.path={data.with_name('image')}")


def test_names_that_look_like_something_else_survive_the_whole_story(cli: Command, image_folder: ImageFolder) -> None:
    names = ["two words", "größe 蟻 🐜", "<script>,'\"", "[red]x", "[", "=$x_1$ %s{}\\n"]
    data = image_folder(dict.fromkeys(names, 4), name="[red]x[/red] & data")
    for number in range(2):
        picture(data / "[" / "]" / f"deep {number}.png", "navy" if number else "teal")
    (data / "[" / "]" / "[bold]broken.png").write_bytes(b"")

    shown = cli("analyze", data)
    assert "left out: [/]/[bold]broken.png: the file is empty" in shown.stderr
    assert "[/]/[bold]broken.png" in shown.stdout
    profile = json.loads(Path("analysis/profile.json").read_text())
    assert set(profile["classes"]) == set(names)

    ran = cli("run", "--run-dir", "out", "--set", "data.class_weights=balanced")
    assert Path("out/profile.json").is_file()
    assert any(name in ran.stdout for name in names)
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert set(metrics["val"]["per_class"]) == set(names)
    with Path("out/splits.csv").open(newline="") as stream:
        assert {row["label"] for row in csv.DictReader(stream)} == set(names)
    assert Path("out/figures/per_class.svg").is_file()

    rows = list(csv.DictReader(cli("predict", "out", data, code=1).stdout.splitlines()))
    assert len(rows) == 4 * len(names) + 3
    assert {row["prediction"] for row in rows if row["prediction"]} <= set(names)
    assert sum(row["prediction"] == Path(row["path"]).relative_to(data).parts[0] for row in rows) > len(rows) / 3
    cli("evaluate", "out", data)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are always Unicode")
def test_names_that_are_not_utf8_survive_a_run(cli: Command, tiny: list[str], image_folder: ImageFolder) -> None:
    data = image_folder({"ants": 6, "bees": 6})
    strange = data / "ants" / os.fsdecode(b"caf\xe9.png")
    (data / "ants" / "000.png").rename(strange)
    (data / "ants" / os.fsdecode(b"br\xfbl\xe9.png")).write_bytes(b"")
    cli("run", "linear_probe", *tiny, "--set", f"data.path={data}", "--run-dir", "out")
    [bad] = json.loads(Path("out/metrics.json").read_text())["bad_files"]
    assert os.fsencode(bad) == b"ants/br\xfbl\xe9.png"
    assert b"ants/caf\xe9.png,ants" in Path("out/predictions.csv").read_bytes()
