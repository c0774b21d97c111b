"""Minimizes the loss of many logistic regressions on one matrix of features.

All problems share that matrix, so their forward passes are one large product. The solver works in the principal axes of
the features, where Bohning's bound on the softmax Hessian is diagonal and known: it scales the steps of a
limited-memory BFGS that minimizes all problems at once. Strengths are taken from strong to weak, and each problem
starts where its last two solutions, as a line over the logarithm of the strength, point to.

Shapes: N images, D features, R rank, K classes, P problems (a problem is one strength on one set of images).

Source: Bohning, "Multinomial logistic regression algorithm", AISM 1992.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk
from torch import Tensor

from finetune_advisor.batched_lbfgs import minimize

SEARCH_TOLERANCE = 5e-5
FIT_TOLERANCE = 1e-6
ROUGH_TOLERANCE = 2e-4
"""A problem is solved when its largest gradient entry, over the root of the curvature there, is below this.

Roughly solved ones serve to count hits, which half the steps settle.
"""

RANK_TOLERANCE = 1e-6
"""Principal axes whose singular value is below this share of the largest are noise and left out."""

WORKING_FLOATS = 2**26
"""Problems are solved together as long as their logits and the memory of their solver have no more numbers than this
(256 MiB)."""

SOLVER_COPIES = 26
"""Numbers that the solver keeps for each coefficient: its memory of ten steps and ten changes, and where it is."""

ROWS = 1024
"""That are in double precision at once."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

THREADS_SHARE = 4
"""Of so many threads one is used. The solver's steps are many and short: on two cores that other work shared, waiting
for each other made two threads take four times as long as one (51 s against 15 s for ten places of 800 images)."""

log = logging.getLogger(__name__)


@contextmanager
def few_threads() -> Iterator[None]:
    """Leave most of the processor's cores alone inside the block, or the function that is decorated with it."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // THREADS_SHARE))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Axes:
    """Standardized features in their principal axes, with a last column of ones for the bias."""

    design_NR: npt.NDArray[np.float32]
    energy_R: FloatArray  # sum of squares of each column of the design
    vector_DR: FloatArray | None = None
    """The axes, without the bias; None where features are not fewer than images, which are then the shorter way."""

    def rotation(self, x_ND: FloatArray) -> FloatArray:
        """From the standardized features that the axes were made of to the axes (D, R), without the bias column."""
        if self.vector_DR is not None:
            return self.vector_DR
        dual_NR = self.design_NR[:, :-1] / self.energy_R[:-1]
        return np.concatenate([x_ND[:, part].T.astype(np.float64) @ dual_NR for part in _parts(x_ND.shape[1])])


def principal_axes(x_ND: FloatArray, *, most: int | None = None) -> Axes:
    """The axes along which the features vary more than rounding does, weakest first; the strongest `most` of them."""
    images, features = x_ND.shape
    wide = images <= features
    # This driver is a little slower than the usual one and works with a third of its memory.
    energy_R, vector_nR = eigh(_gram(x_ND.T if wide else x_ND), overwrite_a=True, driver="evr", check_finite=False)
    keep = energy_R > max(energy_R[-1], 0) * RANK_TOLERANCE**2 + 1e-30
    if most is not None:
        keep[:-most] = False
    energy_R, vector_nR = energy_R[keep], vector_nR[:, keep]
    design_NR = np.empty((images, len(energy_R) + 1), np.float32)
    for part in _parts(images):
        design_NR[part, :-1] = vector_nR[part] * np.sqrt(energy_R) if wide else x_ND[part] @ vector_nR
    design_NR[:, -1] = 1
    return Axes(design_NR, np.append(energy_R, images), None if wide else vector_nR)


def _gram(x_AB: FloatArray) -> FloatArray:
    """The lower half of the transpose of x times x (B, B).

    It takes double precision, in which x itself would be the largest array there is: a few rows are turned at a time.
    """
    gram_BB = np.zeros((x_AB.shape[1],) * 2, order="F")
    for part in _parts(len(x_AB)):
        rows_BA = np.asarray(x_AB[part].T, np.float64)
        gram_BB = dsyrk(1.0, rows_BA, beta=1.0, c=gram_BB, lower=True, overwrite_c=True)
    return gram_BB


def _parts(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, rows, ROWS))


def solve(
    axes: Axes,
    labels_N: IntArray,
    weight_PN: FloatArray,
    strength_P: FloatArray,
    classes: int,
    tolerance: float,
    device: str,
    start_PRK: FloatArray | None = None,
) -> FloatArray:
    """Minimize mean weighted cross-entropy + strength / 2 * ||coefficients||^2 (bias free) for each problem.

    The energies of the axes, as sums of squares over the images of the design, bound the curvature.
    """
    dtype = torch.float32
    design_NR = torch.as_tensor(axes.design_NR, dtype=dtype, device=device)
    label_N = torch.as_tensor(labels_N, dtype=torch.int64, device=device)
    share_PN = torch.as_tensor(weight_PN / weight_PN.sum(axis=1, keepdims=True), dtype=dtype, device=device)
    ridge_PR = torch.as_tensor(strength_P, dtype=dtype, device=device)[:, None].repeat(1, design_NR.shape[1])
    ridge_PR[:, -1] = 0
    energy_R = torch.as_tensor(axes.energy_R, dtype=dtype, device=device)
    curvature_PR = 0.5 * share_PN.amax(dim=1, keepdim=True) * energy_R + ridge_PR

    def objective(at_PRK: Tensor, problem_P: Tensor) -> tuple[Tensor, Tensor]:
        everyone = len(problem_P) == len(share_PN)
        share, ridge = (share_PN, ridge_PR) if everyone else (share_PN[problem_P], ridge_PR[problem_P])
        return _loss(design_NR, label_N, share, ridge, at_PRK)

    if start_PRK is None:
        start_PRK = np.zeros((len(strength_P), design_NR.shape[1], classes))
    begin_PRK = torch.as_tensor(start_PRK, dtype=dtype, device=device)
    solution_PRK, unsolved = minimize(objective, begin_PRK, curvature_PV=curvature_PR[:, :, None], tolerance=tolerance)
    if unsolved:
        log.info("%d of %d classifiers stopped before they had converged", unsolved, len(strength_P))
    # In this order: some devices have no double precision.
    return solution_PRK.cpu().double().numpy()


def _loss(
    design_NR: Tensor, label_N: Tensor, share_PN: Tensor, ridge_PR: Tensor, at_PRK: Tensor
) -> tuple[Tensor, Tensor]:
    """Value (P,) and gradient (P, R, K) of the regularized loss; `share_PN` are image weights that add up to one."""
    problems, rank, classes = at_PRK.shape
    images = len(design_NR)
    share_NP = share_PN.T
    own_NP1 = label_N[:, None, None].expand(images, problems, 1)
    logits_NPK = (design_NR @ at_PRK.permute(1, 0, 2).reshape(rank, -1)).view(images, problems, classes)
    residual_NPK = logits_NPK.log_softmax(dim=2)
    fit_P = -(residual_NPK.gather(2, own_NP1)[:, :, 0] * share_NP).sum(dim=0)
    residual_NPK.exp_().scatter_add_(2, own_NP1, logits_NPK.new_full((1, 1, 1), -1).expand_as(own_NP1))
    residual_NPK.mul_(share_NP[:, :, None])
    data_RPK = (design_NR.T @ residual_NPK.view(images, -1)).view(rank, problems, classes)
    pull_PRK = ridge_PR[:, :, None] * at_PRK
    return fit_P + 0.5 * (pull_PRK * at_PRK).sum(dim=(1, 2)), pull_PRK.add_(data_RPK.permute(1, 0, 2))


def solution_path(
    axes: Axes,
    labels_N: IntArray,
    weight_PN: FloatArray,
    strengths: Sequence[float],
    classes: int,
    device: str,
) -> Iterator[tuple[int, FloatArray]]:
    """The solutions (P, R, K) at each strength, with its index, from the strongest to the weakest."""
    before: list[tuple[float, FloatArray]] = []
    for s in sorted(range(len(strengths)), key=lambda s: -strengths[s]):
        strength_P = np.full(len(weight_PN), strengths[s])
        start_PRK = _extrapolated(before, strengths[s])
        solved_PRK = solve(axes, labels_N, weight_PN, strength_P, classes, SEARCH_TOLERANCE, device, start_PRK)
        before = [*before[-1:], (strengths[s], solved_PRK)]
        yield s, solved_PRK


def _extrapolated(before: list[tuple[float, FloatArray]], strength: float) -> FloatArray | None:
    """Where the solution at the next strength should be, from those at the last two; None where there are none."""
    if len(before) < 2 or before[0][0] == before[1][0]:
        return before[-1][1] if before else None
    (first, first_PRK), (last, last_PRK) = before
    return np.asarray(last_PRK + (last_PRK - first_PRK) * (np.log(strength / last) / np.log(last / first)))


def chunks(problems: int, axes: Axes, classes: int, *, most: int | None = None) -> Iterator[slice]:
    """As many problems at once as memory allows, or `most`."""
    images, rank = axes.design_NR.shape
    size = max(1, min(most or problems, WORKING_FLOATS // (classes * (images + SOLVER_COPIES * rank))))
    for start in range(0, problems, size):
        yield slice(start, start + size)
