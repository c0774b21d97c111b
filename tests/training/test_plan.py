"""The time a plan promises is that of the work, not that of asking a GPU for it."""

from __future__ import annotations

import pytest

from finetune_advisor.training import plan
from finetune_advisor.training.plan import TIMED_STEPS, plan_run
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe


def test_the_clock_is_read_when_the_device_is_done(
    image_folder: ImageFolder, recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this device nothing takes time but waiting for what was asked: 10 seconds, whenever somebody waits."""
    clock = [0.0]

    def wait(device: object) -> None:
        clock[0] += 10.0

    monkeypatch.setattr(plan, "synchronize", wait)
    monkeypatch.setattr(plan, "perf_counter", lambda: clock[0])
    chosen = recipe("few_layers", image_folder({"ants": 8, "bees": 8}), "budget.steps=6", "budget.epochs=null")
    planned = plan_run(chosen, device="cpu")
    assert planned.steps == 6
    assert planned.seconds == 10.0 / TIMED_STEPS * 6
