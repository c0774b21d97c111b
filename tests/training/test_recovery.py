"""A run that fails goes back with half the rate, or takes smaller bites; it says so, or gives up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from finetune_advisor.errors import Interrupted, RunError
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.loss import CrossEntropy
from finetune_advisor.training.data_feed import Pixels
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe, StopAt

PLAIN = {"ants": 10, "bees": 10}
CALM = (
    "strategy.cached_views=null",
    "runtime.cache_mib=null",
    "budget.epochs=3",
    "optimizer.batch=6",
    "regularization=null",
    "schedule={kind: constant}",
)
"""Sixteen training images: three steps an epoch, nothing random, a constant rate."""


@pytest.fixture
def make(image_folder: ImageFolder, recipe: MakeRecipe) -> Callable[..., Recipe]:
    data = image_folder(PLAIN)
    return lambda *settings: recipe("few_layers", data, *CALM, *settings)


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`spoil(5)`: the fifth loss that is computed is no number; further numbers, further losses."""

    def arm(*numbers: int) -> None:
        per_image = CrossEntropy.per_image
        calls = iter(range(1, 1000))

        def spoiled(self: CrossEntropy, *args: Any) -> Tensor:
            loss_B = per_image(self, *args)
            return loss_B * float("nan") if next(calls) in numbers else loss_B

        monkeypatch.setattr(CrossEntropy, "per_image", spoiled)

    return arm


def rates(run: RunDir) -> list[float]:
    return [record.lr["head"] for record in run.load_history() if record.lr]


@pytest.mark.parametrize(("bad", "back_to"), [(2, 0), (5, 3), (6, 3)], ids=["first epoch", "mid epoch", "epoch's end"])
def test_a_loss_that_is_no_number_goes_back_with_half_the_rate(
    make: Callable[..., Recipe],
    spoil: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    bad: int,
    back_to: int,
) -> None:
    spoil(bad)
    run = train(make("optimizer.lr=0.01"), RunDir(tmp_path / "run"))
    halves = [record.step > back_to for record in run.load_history()]
    assert rates(run) == pytest.approx([0.005 if half else 0.01 for half in halves])
    assert [record.step for record in run.load_history()] == [3, 6, 9]
    [event] = [event for record in run.load_history() for event in record.events]
    assert f"The loss is nan at step {bad}. Images of that batch:" in event
    assert f"Went back from step {bad - 1} to step {back_to}, with 0.5 of the rate." in event
    assert event in run.log.read_text()
    assert all(value.isfinite().all() for value in load_file(run.model / "model.safetensors").values())


def test_a_resumed_run_keeps_the_rate_it_went_back_to(
    make: Callable[..., Recipe], spoil: Callable[..., None], tmp_path: Path, stop_at: type[StopAt]
) -> None:
    spoil(5)
    run = RunDir(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(make("optimizer.lr=0.01"), run, watcher=stop_at(8))
    train(load_recipe(run.recipe), run, resume=True)
    assert rates(run) == pytest.approx([0.01, 0.005, 0.005])
    spoil(5)
    whole = train(make("optimizer.lr=0.01"), RunDir(tmp_path / "whole"))
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("retries", "bad"), [(0, (5,)), (1, (5, 7)), (2, (5, 6, 7))])
def test_a_run_gives_up_after_as_many_times_as_the_recipe_says(
    make: Callable[..., Recipe], spoil: Callable[..., None], tmp_path: Path, retries: int, bad: tuple[int, ...]
) -> None:
    spoil(*bad)
    run = RunDir(tmp_path / "run")
    with pytest.raises(RunError, match=r"The loss is nan at step \d") as caught:
        train(make(f"runtime.retries={retries}"), run)
    assert "optimizer.lr" in str(caught.value.hint)
    assert run.last.is_file() and not run.finished


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Exception], None]:
    """`small_memory(2)`: memory for activations of two images; errors as torch, the system or Python tell them."""

    def arm(images: int, error: Exception) -> None:
        forward = Pixels.forward

        def limited(self: Pixels, inputs: Tensor) -> Tensor:
            if self.net.training and len(inputs) > images:
                raise error
            return forward(self, inputs)

        monkeypatch.setattr(Pixels, "forward", limited)

    return arm


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_takes_smaller_parts_and_the_same_steps(
    make: Callable[..., Recipe], small_memory: Callable[[int, Exception], None], tmp_path: Path, error: Exception
) -> None:
    expected = train(make(), RunDir(tmp_path / "large"))
    small_memory(2, error)
    run = train(make(), RunDir(tmp_path / "small"))
    weights = [load_file(each.model / "model.safetensors") for each in (run, expected)]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[1]) < 1e-4
    events = [event for record in run.load_history() for event in record.events]
    assert all("Memory ran out at step 1" in event for event in events)
    assert "at most 3 images go through the network together instead of 7" in events[0]
    assert "at most 1 images" in events[-1]
    for ours, theirs in zip(run.load_history(), expected.load_history(), strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-4)


def test_memory_for_not_even_one_image_is_told(
    make: Callable[..., Recipe], small_memory: Callable[[int, Exception], None], tmp_path: Path
) -> None:
    small_memory(0, ERRORS[0])
    with pytest.raises(RunError, match="Memory does not suffice for a single image: CUDA out of memory") as caught:
        train(make(), RunDir(tmp_path / "run"))
    assert "preprocessing.size" in str(caught.value.hint)


def test_another_error_is_not_taken_for_want_of_memory(
    make: Callable[..., Recipe], small_memory: Callable[[int, Exception], None], tmp_path: Path
) -> None:
    small_memory(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(make(), RunDir(tmp_path / "run"))


def test_a_batch_norm_that_sees_one_value_says_what_to_change(
    make: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Pixels.forward

    def refuses(self: Pixels, inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(self, inputs)  # a look at the network before training
        raise ValueError("Expected more than 1 value per channel when training, got input size [1, 8, 1, 1]")

    monkeypatch.setattr(Pixels, "forward", refuses)
    with pytest.raises(RunError, match="BatchNorm in training mode cannot learn from one image") as caught:
        train(make("strategy.batch_norm=train"), RunDir(tmp_path / "run"))
    assert "strategy.batch_norm" in str(caught.value.hint)
