"""Limited-memory BFGS for many small problems of one shape at once; each converges at its own pace.

Shapes: P problems, V variables (any trailing axes), M remembered steps.

Source: Nocedal and Wright, "Numerical Optimization", 2nd edition, algorithms 7.4 and 7.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MEMORY = 10
MAX_STEPS = 1000
SUFFICIENT_DECREASE = 1e-4
HALVINGS = 20
COMPACT_EVERY = 5
"""Solved problems are taken out of the batch this often."""

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(points PV, indices of their problems P) -> values P and gradients PV."""


def minimize(objective: Objective, start_PV: Tensor, *, curvature_PV: Tensor, tolerance: float) -> tuple[Tensor, int]:
    """The minimum of each problem.

    Args:
        objective: smooth and convex.
        start_PV: where to begin.
        curvature_PV: an upper bound of the diagonal of each Hessian, which scales the steps; broadcasts.
        tolerance: a problem is solved when its largest gradient entry over the root of its curvature is below this.

    Returns:
        points PV, and how many of them are not solved after `MAX_STEPS` steps.
    """
    solution_PV = start_PV.clone()
    active_P = torch.arange(len(start_PV), device=start_PV.device)
    value_P, gradient_PV = objective(start_PV, active_P)
    state = _State(start_PV, value_P, gradient_PV, curvature_PV.expand_as(start_PV), ())
    for step in range(1, MAX_STEPS + 1):
        state = _step(objective, active_P, state)
        if step % COMPACT_EVERY == 0 or step == MAX_STEPS:
            solution_PV[active_P] = state.at_PV
            unsolved_P = _flat(state.gradient_PV / state.curvature_PV.sqrt()).abs().amax(dim=1) > tolerance
            if not bool(unsolved_P.all()):
                active_P, state = active_P[unsolved_P], state.select(unsolved_P)
            if not len(active_P):
                break
    return solution_PV, len(active_P)


@dataclass(frozen=True)
class _Pair:
    """A step and the change of the gradient along it; `inverse_P` is 1 / (step . change), 0 where unusable."""

    step_PV: Tensor
    change_PV: Tensor
    inverse_P: Tensor

    def select(self, keep_P: Tensor) -> _Pair:
        return _Pair(self.step_PV[keep_P], self.change_PV[keep_P], self.inverse_P[keep_P])


@dataclass(frozen=True)
class _State:
    at_PV: Tensor
    value_P: Tensor
    gradient_PV: Tensor
    curvature_PV: Tensor
    pairs: tuple[_Pair, ...]

    def select(self, keep_P: Tensor) -> _State:
        return _State(
            self.at_PV[keep_P],
            self.value_P[keep_P],
            self.gradient_PV[keep_P],
            self.curvature_PV[keep_P],
            tuple(pair.select(keep_P) for pair in self.pairs),
        )


def _step(objective: Objective, active_P: Tensor, state: _State) -> _State:
    direction_PV = -_times_inverse_hessian(state, state.gradient_PV)
    slope_P = _dot(direction_PV, state.gradient_PV)
    uphill_P = slope_P >= 0
    if bool(uphill_P.any()):
        steepest_PV = -state.gradient_PV / state.curvature_PV
        direction_PV = torch.where(_as(uphill_P, direction_PV), steepest_PV, direction_PV)
        slope_P = _dot(direction_PV, state.gradient_PV)
    at_PV, value_P, gradient_PV = _line_search(objective, active_P, state, direction_PV, slope_P)
    step_PV, change_PV = at_PV - state.at_PV, gradient_PV - state.gradient_PV
    product_P = _dot(step_PV, change_PV)
    usable_P = product_P > 1e-12 * _dot(change_PV, change_PV)
    inverse_P = torch.where(usable_P, 1 / product_P.clamp_min(1e-30), torch.zeros_like(product_P))
    pairs = (*state.pairs, _Pair(step_PV, change_PV, inverse_P))[-MEMORY:]
    return _State(at_PV, value_P, gradient_PV, state.curvature_PV, pairs)


def _line_search(
    objective: Objective, active_P: Tensor, state: _State, direction_PV: Tensor, slope_P: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve the step of each problem until its value falls enough (up to rounding)."""
    size_P = torch.ones_like(slope_P)
    at_PV = state.at_PV + direction_PV
    value_P, gradient_PV = objective(at_PV, active_P)
    rounding_P = 1e-6 * state.value_P.abs()
    for _ in range(HALVINGS):
        short_P = value_P > state.value_P + SUFFICIENT_DECREASE * size_P * slope_P + rounding_P
        if not bool(short_P.any()):
            break
        size_P = torch.where(short_P, size_P / 2, size_P)
        at_PV[short_P] = state.at_PV[short_P] + _as(size_P[short_P], at_PV) * direction_PV[short_P]
        value_P[short_P], gradient_PV[short_P] = objective(at_PV[short_P], active_P[short_P])
    return at_PV, value_P, gradient_PV


def _times_inverse_hessian(state: _State, vector_PV: Tensor) -> Tensor:
    """The two-loop recursion; the diagonal bound, scaled by the last pair, is where it starts from."""
    shares: list[Tensor] = []
    for pair in reversed(state.pairs):
        share_P = pair.inverse_P * _dot(pair.step_PV, vector_PV)
        shares.append(share_P)
        vector_PV = torch.addcmul(vector_PV, _as(share_P, vector_PV), pair.change_PV, value=-1)
    result_PV = vector_PV / state.curvature_PV
    if state.pairs:
        result_PV = _as(_scale(state.pairs[-1], state.curvature_PV), result_PV) * result_PV
    for pair, share_P in zip(state.pairs, reversed(shares), strict=True):
        back_P = pair.inverse_P * _dot(pair.change_PV, result_PV)
        result_PV = torch.addcmul(result_PV, _as(share_P - back_P, result_PV), pair.step_PV)
    return result_PV


def _scale(pair: _Pair, curvature_PV: Tensor) -> Tensor:
    """How far the bound overstates the curvature along the last step (P,), at least one."""
    overstated_P = pair.inverse_P * _dot(pair.change_PV, pair.change_PV / curvature_PV)
    return torch.where(overstated_P > 0, 1 / overstated_P.clamp_min(1e-30), torch.ones_like(overstated_P))


def _dot(left_PV: Tensor, right_PV: Tensor) -> Tensor:
    return _flat(left_PV * right_PV).sum(dim=1)


def _flat(values_PV: Tensor) -> Tensor:
    return values_PV.reshape(len(values_PV), -1)


def _as(values_P: Tensor, like_PV: Tensor) -> Tensor:
    """One number a problem, shaped to be multiplied with its variables."""
    return values_P.reshape(-1, *[1] * (like_PV.ndim - 1))
