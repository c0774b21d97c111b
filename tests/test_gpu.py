"""What only a GPU can show. Skipped where there is none; `pytest -m gpu` runs these alone."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune_advisor.advice.table import place
from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.errors import Interrupted
from finetune_advisor.inference.run import Run
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training import loop
from finetune_advisor.training.loop import Method, Step, compute_gradients
from finetune_advisor.training.state import TrainState
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Progress, Watcher
from tests.conftest import ImageFolder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]

COUNTS = {"train/ants": 24, "train/bees": 24, "test/ants": 8, "test/bees": 8}
SETTINGS = ("preprocessing.size=96", "runtime.workers=2", "budget.epochs=5", "optimizer.batch=8")
PLAIN = ("strategy.cached_views=null", "runtime.cache_mib=null")
RECIPES = ("few_layers", "many_layers", "all_layers", "probe_then_fine_tune", "gradual_unfreezing", "from_scratch")


@pytest.fixture
def images(image_folder: ImageFolder) -> Path:
    return image_folder(COUNTS, size=(120, 100), suffix=".jpg")


def trained(recipe: str, images: Path, folder: Path, *settings: str, device: str = "cuda") -> RunDir:
    asked = load_recipe(recipe, [f"data.path={images}", *SETTINGS, *settings])
    return train(asked, RunDir(folder), device=device)


class StopAtStep(Watcher):
    """Presses Ctrl-C during a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, progress: Progress) -> None:
        if progress.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def answers(run: RunDir) -> np.ndarray:
    return np.array([answer.probability for answer in run.load_predictions(run.load_metrics())])


def test_the_analysis_says_what_a_cpu_says(images: Path) -> None:
    on_cpu, on_gpu = (place(analyze(images / "train", size=96, seed=0, device=device)) for device in ("cpu", "cuda"))
    assert on_gpu.cell == on_cpu.cell
    assert on_gpu.similarity.score == pytest.approx(on_cpu.similarity.score, abs=0.03)
    for mine, other in zip(on_gpu.probes, on_cpu.probes, strict=True):
        assert mine.accuracy == pytest.approx(other.accuracy, abs=0.1)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_and_a_cpu_predicts_the_same(recipe: str, images: Path, tmp_path: Path) -> None:
    run = trained(recipe, images, tmp_path / "run")
    losses = [record.train_loss for record in run.load_history() if record.train_loss is not None]
    assert (losses and losses[-1] < losses[0]) or run.load_metrics()["test"]["accuracy"] == 1.0
    scored = run.load_predictions(run.load_metrics())
    again = Run.open(run, device="cpu").predict([images / answer.name for answer in scored])
    found = [seen.probabilities[answer.prediction] for seen, answer in zip(again, scored, strict=True)]
    assert found == pytest.approx([answer.probability for answer in scored], abs=0.05)


@pytest.mark.parametrize("recipe", ["linear_probe", "stage_probe"])
def test_probes_export_what_was_scored(
    recipe: str, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "finetune_advisor")
    asked = load_recipe(recipe, [f"data.path={images}", "preprocessing.size=96"])
    run = train(asked, RunDir(tmp_path / "run"), device="cuda")
    assert run.load_metrics()["test"]["accuracy"] > 0.5
    assert "the network says what was scored" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        PLAIN,
        ("strategy.cached_views=null", "runtime.cache_mib=100"),
        (*PLAIN, "mixing={kind: cutmix}", "averaging={kind: ema}"),
        (*PLAIN, "optimizer.micro_batch=3", "optimizer.clip=1.0"),
        (*PLAIN, "runtime.precision=float32"),
        (*PLAIN, "optimizer={kind: sgd, lr: 0.1, batch: 8, body_lr_ratio: 1.0}"),
    ],
    ids=["plain", "pixels kept", "mixing and averaging", "parts and clip", "float32", "sgd"],
)
def test_settings(settings: tuple[str, ...], images: Path, tmp_path: Path) -> None:
    run = trained("few_layers", images, tmp_path / "run", *settings)
    losses = [record.train_loss for record in run.load_history()]
    assert all(loss is not None and np.isfinite(loss) for loss in losses)
    assert np.isfinite(answers(run)).all()


@pytest.mark.parametrize("recipe", ["few_layers", "all_layers"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(recipe: str, images: Path, tmp_path: Path) -> None:
    whole = trained(recipe, images, tmp_path / "whole", *PLAIN, "runtime.precision=float32")
    asked = load_recipe(whole.recipe)
    run = RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        train(asked, run, watcher=StopAtStep(7), device="cuda")
    train(asked, run, resume=True, device="cuda")
    assert answers(run) == pytest.approx(answers(whole), abs=0.02)


def test_memory_that_runs_out_makes_the_parts_smaller(images: Path, tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 600 * 2**20) / total)
    try:
        run = trained("all_layers", images, tmp_path / "run", *PLAIN, "optimizer.batch=38", "preprocessing.size=288")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    events = [event for record in run.load_history() for event in record.events]
    assert any("Memory ran out" in event for event in events), events


def test_a_loss_that_is_no_number_is_seen_a_step_late_and_undone(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def spoiled(*arguments: Any, **settings: Any) -> Any:
        calls.append(arguments[2].step)
        if len(calls) == 8:
            next(arguments[0].net.parameters()).data.fill_(float("nan"))
        return compute_gradients(*arguments, **settings)

    monkeypatch.setattr(loop, "compute_gradients", spoiled)
    run = trained("all_layers", images, tmp_path / "run", *PLAIN)
    events = [event for record in run.load_history() for event in record.events]
    assert any("Went back" in event for event in events), events
    assert run.load_metrics()["test"]["accuracy"] > 0.5


@contextmanager
def no_waiting() -> Iterator[None]:
    """The CPU waiting for the GPU is an error inside."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_nothing_waits_for_the_gpu_inside_a_step(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[int] = []
    update = loop._update

    def gradients(*arguments: Any, **settings: Any) -> Any:
        if arguments[2].step < 2:  # the first step sends constants that then stay
            return compute_gradients(*arguments, **settings)
        watched.append(arguments[2].step)
        with no_waiting():
            return compute_gradients(*arguments, **settings)

    def updated(state: TrainState, method: Method, step: Step) -> None:
        if step.batch.step < 2:
            update(state, method, step)
            return
        with no_waiting():
            update(state, method, step)

    monkeypatch.setattr(loop, "compute_gradients", gradients)
    monkeypatch.setattr(loop, "_update", updated)
    trained("few_layers", images, tmp_path / "run", *PLAIN)
    assert len(watched) > 5


@pytest.mark.parametrize("mode", ["true", "reduce-overhead"])
def test_a_compiled_network_trains(images: Path, tmp_path: Path, mode: str) -> None:
    run = trained("few_layers", images, tmp_path / "run", *PLAIN, f"runtime.compile={mode}")
    assert run.load_metrics()["test"]["accuracy"] > 0.5
