"""Schedules against torch's, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.optim import lr_scheduler

from finetune_advisor.techniques.catalog import families
from finetune_advisor.techniques.schedule import (
    Constant,
    Cosine,
    Cyclic,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    ScheduleState,
    Step,
)

PEAK = 0.4


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)


@pytest.mark.parametrize("peak_at", [0.1, 0.3, 0.9])
def test_one_cycle_is_the_curve_of_torch(peak_at: float) -> None:
    steps, ours = 101, OneCycle(peak_at=peak_at, start_factor=0.2, end_factor=0.01)
    sgd = optimizer()
    theirs = lr_scheduler.OneCycleLR(
        sgd, PEAK, steps, pct_start=(peak_at * (steps - 1) + 1) / steps, div_factor=5, final_div_factor=20
    )
    for step in range(steps):
        assert PEAK * ours.multiplier(step / (steps - 1)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        sgd.step()
        if step < steps - 1:
            theirs.step()


def test_cosine_is_the_curve_of_torch() -> None:
    steps, sgd = 50, optimizer()
    theirs = lr_scheduler.CosineAnnealingLR(sgd, steps, eta_min=0.1 * PEAK)
    for step in range(steps + 1):
        rate = PEAK * Cosine(warmup=0.0, floor=0.1).multiplier(step / steps)
        assert rate == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        sgd.step()
        theirs.step()


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_polynomial_is_the_curve_of_torch(power: float) -> None:
    steps, sgd = 50, optimizer()
    theirs = lr_scheduler.PolynomialLR(sgd, steps, power=power)
    for step in range(steps + 1):
        rate = PEAK * Polynomial(power=power).multiplier(step / steps)
        assert rate == pytest.approx(theirs.get_last_lr()[0], rel=1e-6, abs=1e-9)
        sgd.step()
        theirs.step()


@pytest.mark.parametrize("after", [Constant, Polynomial, Step], ids=lambda kind: kind.__name__)
def test_a_warmup_leads_every_schedule_that_starts_at_its_peak_up_to_it(after: type[Schedule]) -> None:
    steps, warm, sgd = 60, 15, optimizer()
    ours = after.model_validate({"warmup": warm / steps, "warmup_from": 0.2})
    theirs = lr_scheduler.LinearLR(sgd, start_factor=0.2, total_iters=warm)
    for step in range(warm):
        assert PEAK * ours.multiplier(step / steps) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        sgd.step()
        theirs.step()
    for step in range(warm, steps):
        unwarmed = after.model_validate({}).multiplier((step - warm) / (steps - warm))
        assert ours.multiplier(step / steps) == pytest.approx(unwarmed), "then it plays over the steps that are left"


def test_cycles_are_restarts_of_torchs_cosine() -> None:
    steps, cycles, sgd = 60, 3, optimizer()
    ours = Cyclic(cycles=cycles, floor=0.1)
    theirs = lr_scheduler.CosineAnnealingWarmRestarts(sgd, steps // cycles, eta_min=0.1 * PEAK)
    for step in range(steps):
        assert PEAK * ours.multiplier(step / steps) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        sgd.step()
        theirs.step()
    assert ours.multiplier(1.0) == pytest.approx(0.1), "the end is the end of the last cycle, not one more restart"


@pytest.mark.parametrize("up", [2, 5, 8])
def test_cycles_of_lines_are_torchs_triangles(up: int) -> None:
    ours, sgd = Cyclic(cycles=4, shape="line", rise=up / 10, floor=0.25), optimizer()
    theirs = lr_scheduler.CyclicLR(
        sgd, 0.25 * PEAK, PEAK, step_size_up=up, step_size_down=10 - up, cycle_momentum=False
    )
    for step in range(40):
        assert PEAK * ours.multiplier(step / 40) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        sgd.step()
        theirs.step()


def test_cosine_warms_up_along_a_line_and_reaches_its_peak_and_its_floor() -> None:
    cosine = Cosine(warmup=0.2, floor=0.05)
    assert [cosine.multiplier(progress) for progress in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0, 0.5, 1, 0.05])


def test_step_drops_at_its_moments() -> None:
    step = Step(at=(0.5, 0.75), factor=0.1)
    assert [step.multiplier(p) for p in (0, 0.49, 0.5, 0.74, 0.75, 1)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_step_refuses_moments_out_of_order() -> None:
    with pytest.raises(ValidationError, match="rising order"):
        Step(at=(0.6, 0.3))


@pytest.mark.parametrize("lowest", [0.0, 0.2])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_drops_when_torch_does(patience: int, lowest: float) -> None:
    plateau = Plateau(factor=0.5, patience=patience, threshold=0.01, min_factor=lowest)
    state, sgd = ScheduleState(), optimizer()
    theirs = lr_scheduler.ReduceLROnPlateau(
        sgd,
        mode="max",
        factor=0.5,
        patience=patience,
        threshold=0.01,
        threshold_mode="abs",
        min_lr=lowest * PEAK,
        eps=0,
    )
    for metric in np.random.default_rng(0).normal(0.5, 0.05, 60).cumsum() % 1:
        state = plateau.advance(state, float(metric))
        theirs.step(float(metric))
        assert PEAK * state.factor == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-9, abs=1e-8)
    assert lowest <= state.factor < 1


def test_plateau_divides_by_five_again_and_again_and_training_goes_on() -> None:
    plateau, state, factors = Plateau(factor=0.2, patience=1), ScheduleState(), []
    for _ in range(7):
        state = plateau.advance(state, 0.5)
        factors.append(state.factor)
    assert factors == pytest.approx([1, 1, 1 / 5, 1 / 5, 1 / 25, 1 / 25, 1 / 125])


@pytest.mark.parametrize("schedule", families()["schedule"])
def test_every_rate_stays_between_zero_and_the_peak(schedule: type[Schedule]) -> None:
    multipliers = [schedule.model_validate({}).multiplier(progress) for progress in np.linspace(0, 1, 101)]
    assert min(multipliers) >= 0
    assert max(multipliers) <= 1


@pytest.mark.parametrize("schedule", families()["schedule"])
def test_only_the_plateau_rule_is_moved_by_evaluations(schedule: type[Schedule]) -> None:
    state = ScheduleState()
    for _ in range(10):
        state = schedule.model_validate({}).advance(state, 0.5)
    assert (state != ScheduleState()) == (schedule is Plateau)
