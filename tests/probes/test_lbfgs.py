"""The batched minimizer, against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor

from finetune_advisor.probes import lbfgs as batched_lbfgs
from finetune_advisor.probes.lbfgs import minimize

SCALES = torch.tensor([[1.0, 10.0, 1000.0], [1.0, 1.0, 1.0], [0.01, 5.0, 300.0]])
CENTERS = torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0], [-5.0, 4.0, 0.5]])


def quadratics(at_PV: Tensor, problem_P: Tensor) -> tuple[Tensor, Tensor]:
    scale_PV, offset_PV = SCALES[problem_P], at_PV - CENTERS[problem_P]
    return 0.5 * (scale_PV * offset_PV**2).sum(dim=1), scale_PV * offset_PV


def test_every_problem_of_the_batch_reaches_its_own_minimum() -> None:
    found_PV, unsolved = minimize(quadratics, torch.zeros(3, 3), curvature_PV=2 * SCALES, tolerance=1e-5)
    assert unsolved == 0
    torch.testing.assert_close(found_PV, CENTERS, atol=1e-3, rtol=0)


def test_a_curved_problem_ends_where_scipy_ends() -> None:
    matrix = torch.tensor([[1.0, 0.9], [0.9, 1.0]])

    def objective(at_PV: Tensor, _problem_P: Tensor) -> tuple[Tensor, Tensor]:
        mixed_PV = at_PV @ matrix
        value_P = torch.cosh(mixed_PV - 1).sum(dim=1) + 0.05 * (at_PV**2).sum(dim=1)
        return value_P, torch.sinh(mixed_PV - 1) @ matrix + 0.1 * at_PV

    found_PV, unsolved = minimize(objective, torch.zeros(1, 2), curvature_PV=torch.full((1, 1), 10.0), tolerance=1e-5)

    def value(at: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        mixed = at @ matrix.double().numpy()
        return float(np.cosh(mixed - 1).sum() + 0.05 * (at**2).sum())

    assert unsolved == 0
    assert found_PV[0].numpy() == pytest.approx(scipy_minimize(value, np.zeros(2), tol=1e-10).x, abs=1e-3)


def test_problems_that_run_out_of_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched_lbfgs, "MAX_STEPS", 2)
    _, unsolved = minimize(quadratics, torch.full((3, 3), 50.0), curvature_PV=400 * SCALES, tolerance=1e-9)
    assert unsolved == 2, "the evenly scaled problem needs no more than two steps"


def test_each_variable_may_have_more_than_one_axis() -> None:
    def objective(at_PRK: Tensor, _problem_P: Tensor) -> tuple[Tensor, Tensor]:
        return ((at_PRK - 1) ** 2).sum(dim=(1, 2)), 2 * (at_PRK - 1)

    found_PRK, _ = minimize(objective, torch.zeros(2, 3, 4), curvature_PV=torch.full((2, 1, 1), 2.0), tolerance=1e-6)
    torch.testing.assert_close(found_PRK, torch.ones(2, 3, 4))
