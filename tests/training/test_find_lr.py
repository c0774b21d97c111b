"""The range test sweeps the head's rate, suggests one from the curve, and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.optim import Optimizer

from finetune_advisor.errors import RunError
from finetune_advisor.techniques.optimizer import Sgd
from finetune_advisor.training import lr_finder as module
from finetune_advisor.training.lr_finder import exploded, find_lr, judged, smoothed
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

RATES = np.geomspace(1e-6, 10, 100).tolist()


def curve(noise: float = 0.0) -> list[float]:
    """Flat at 1, falling around 1e-3 to 0.2, rising again from 0.1 on."""
    logs = np.log10(RATES)
    losses = 1 - 0.8 / (1 + np.exp(-4 * (logs + 3))) + np.exp(5 * (logs + 0.5))
    noisy: list[float] = (losses + np.random.default_rng(0).normal(0, noise, len(losses))).tolist()
    return noisy


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_steepest_fall_and_a_tenth_of_the_lowest(noise: float) -> None:
    test = judged(RATES, curve(noise), diverged=True)
    assert test.steepest == pytest.approx(1e-3, rel=0.6)
    lowest = RATES[int(np.argmin(curve()))]
    assert test.tenth_of_lowest == pytest.approx(lowest / 10, rel=0.7)
    assert test.suggestion == min(test.steepest, test.tenth_of_lowest)  # type: ignore[type-var]


def test_a_loss_that_only_rises_suggests_nothing() -> None:
    test = judged(RATES, np.linspace(0.1, 3, 100).tolist(), diverged=True)
    assert (test.steepest, test.tenth_of_lowest, test.suggestion) == (None, None, None)


def test_smoothing_keeps_a_line_where_it_has_neighbors_on_both_sides() -> None:
    line = np.linspace(0, 1, 50)
    np.testing.assert_allclose(smoothed(line.tolist())[15:-15], line[15:-15], atol=1e-6)


def test_a_single_bad_step_is_no_explosion() -> None:
    assert not exploded([1.0] * 20 + [8.0] + [1.0] * 10)
    assert exploded([1.0] * 20 + [8.0] * 10)


def test_the_head_is_swept_the_ratio_is_kept_and_nothing_stays(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, rates = image_folder({"ants": 10, "bees": 10}), []
    build = Sgd.build

    def spied(self: Sgd, groups: list[dict[str, Any]]) -> Optimizer:
        made = build(self, groups)
        made.register_step_pre_hook(
            lambda optimizer, *_: rates.append({g["name"]: g["lr"] for g in optimizer.param_groups})
        )
        return made

    monkeypatch.setattr(Sgd, "build", spied)
    monkeypatch.setattr(module, "STEPS", 12)
    before = set(tmp_path.rglob("*"))
    chosen = recipe("few_layers", data, "optimizer={kind: sgd, lr: 0.1, body_lr_ratio: 0.2, batch: 4}")
    test = find_lr(chosen)
    assert test.rates == pytest.approx([step["head"] for step in rates][: len(test.rates)])
    assert test.rates[0] == pytest.approx(1e-6)
    assert np.allclose(np.diff(np.log(test.rates)), np.log(1e7) / 13)
    assert all(step["body"] == pytest.approx(0.2 * step["head"]) for step in rates)
    assert set(tmp_path.rglob("*")) == before
    assert find_lr(chosen).losses == test.losses


def test_a_probe_has_no_rate(image_folder: ImageFolder, recipe: MakeRecipe) -> None:
    with pytest.raises(RunError, match="linear_probe is fitted in one go"):
        find_lr(recipe("linear_probe", image_folder({"ants": 6, "bees": 6})))
