"""What the tests of the commands share: calling them in this process, and a run to ask."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from finetune_advisor.cli import app
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=64", "runtime.workers=0")
COLORS = {"ants": (200, 60, 60), "bees, wild": (60, 200, 60), "[red]wasps": (60, 60, 200)}


class Command(Protocol):
    """Runs `finetune-advisor` with arguments; see the fixture `cli`."""

    def __call__(self, *arguments: object, code: int = 0) -> Result: ...


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sets up logging for its process; here the process goes on with other tests."""
    loggers = [logging.getLogger(name) for name in ("finetune_advisor", "py.warnings")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call a command in an empty folder and check its exit code; returns stdout and stderr, apart.

    What is no error of ours comes out as the traceback it would be.
    """
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: object, code: int = 0) -> Result:
        words = [str(argument) for argument in arguments]
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words, catch_exceptions=False)
        assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}"
        return result

    return call


@pytest.fixture
def tiny() -> list[str]:
    """Options of `run` for a tiny network with random weights."""
    return [word for setting in TINY for word in ("--set", setting)]


def write_images(root: Path, count: int, *, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise_HWC = rng.normal(color, 25.0, (32, 40, 3))
            Image.fromarray(noise_HWC.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def probe_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished linear probe; do not change it."""
    folder = tmp_path_factory.mktemp("probe")
    data = write_images(folder / "images", 6, seed=0)
    recipe = load_recipe("linear_probe", [f"data.path={data}", *TINY])
    return train(recipe, RunDir(folder / "run")).path


@pytest.fixture
def new_images(tmp_path: Path) -> Path:
    """Two new images of each class that the probe knows."""
    return write_images(tmp_path / "new", 2, seed=1)
