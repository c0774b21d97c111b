"""What a person gets wrong, or a disk, between two `run` commands."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from finetune_advisor.cli.console import Bars
from tests.cli.conftest import Command
from tests.conftest import ImageFolder

SHORT = ("--set", "budget.epochs=2", "--set", "optimizer.batch=8")


@pytest.fixture
def data(image_folder: ImageFolder) -> list[str]:
    return ["--set", f"data.path={image_folder({'ants': 8, 'bees': 8})}"]


@pytest.fixture
def stopped(cli: Command, tiny: list[str], data: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that somebody stopped after its first step."""

    def show(self: Bars, name: str, done: int, total: int, note: str = "") -> None:
        if name == "training" and done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Bars, "show", show)
        cli("run", "few_layers", *tiny, *data, *SHORT, "--run-dir", "run", code=130)
    return Path("run")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_checkpoint_is_named_and_left_where_it_is(cli: Command, stopped: Path, share: float) -> None:
    [last] = stopped.glob("checkpoints/last.safetensors")
    whole = last.read_bytes()
    last.write_bytes(whole[: int(share * len(whole))])
    error = cli("run", "--run-dir", stopped, "--resume", code=1).stderr
    assert "last.safetensors" in error and "Traceback" not in error
    assert last.stat().st_size == int(share * len(whole))
    last.write_bytes(whole)
    cli("run", "--run-dir", stopped, "--resume")


def test_what_needs_a_finished_run_says_how_to_finish_it(cli: Command, stopped: Path, probe_run: Path) -> None:
    commands: dict[str, tuple[object, ...]] = {
        "report": (),
        "compare": (probe_run,),
        "predict": (stopped / "recipe.yaml",),
        "evaluate": ("x",),
        "export": ("--format", "hub"),
        "ensemble": ("--kind", "cross_validation"),
    }
    for name, rest in commands.items():
        error = cli(name, stopped, *rest, code=1).stderr
        assert "finetune-advisor run --run-dir run --resume" in error, name


def test_a_recipe_that_was_edited_meanwhile_is_refused_with_the_key(cli: Command, stopped: Path) -> None:
    recipe = stopped / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("label_smoothing: 0.1", "label_smoothing: 0.2"))
    assert "loss.label_smoothing" in cli("run", "--run-dir", stopped, "--resume", code=1).stderr


@pytest.mark.parametrize("key", ["epochs", "steps", "images", "minutes"])
def test_a_budget_of_nothing(cli: Command, tiny: list[str], data: list[str], key: str) -> None:
    settings = ("--set", "budget.epochs=null", "--set", f"budget.{key}=0")
    error = cli("run", "few_layers", *tiny, *data, *settings, "--run-dir", "run", code=1).stderr
    assert f"budget.{key}" in error
    assert not Path("run").exists()


def test_a_batch_larger_than_the_data_is_one_step_an_epoch(cli: Command, tiny: list[str], data: list[str]) -> None:
    cli("run", "few_layers", *tiny, *data, *SHORT, "--set", "optimizer.batch=500", "--run-dir", "run")
    steps = [json.loads(line)["step"] for line in Path("run/history.jsonl").read_text().splitlines()]
    assert steps == [1, 2]


def test_a_last_batch_of_one_trains_with_moving_batch_norm(
    cli: Command, tiny: list[str], image_folder: ImageFolder
) -> None:
    data = image_folder({"train/ants": 9, "train/bees": 8, "val/ants": 2, "val/bees": 2})
    settings = (
        "--set",
        f"data.path={data}",
        "--set",
        "strategy.batch_norm=train",
        "--set",
        "strategy.cached_views=null",
    )
    cli("run", "few_layers", *tiny, *settings, *SHORT, "--run-dir", "run")
    steps = [json.loads(line)["step"] for line in Path("run/history.jsonl").read_text().splitlines()]
    assert steps == [2, 4], "17 images in batches of 8: the single one joins the batch before"


def test_workers_need_no_shared_memory(
    cli: Command, tiny: list[str], data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's /dev/shm may be tiny: torch's own way from a worker would end in a bus error there."""

    def no_room(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device: /dev/shm")

    monkeypatch.setattr("torch.UntypedStorage._new_shared", no_room)
    monkeypatch.setattr("torch.UntypedStorage._share_fd_cpu_", no_room)
    monkeypatch.setattr("torch.UntypedStorage._share_filename_cpu_", no_room)
    cli("run", "few_layers", *tiny, *data, *SHORT, "--set", "runtime.workers=2", "--run-dir", "run")
    assert Path("run/metrics.json").is_file()
