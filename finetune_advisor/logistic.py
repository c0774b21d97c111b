"""Multinomial logistic regression for many strengths and folds at once.

All problems share one matrix of features, so their forward passes are one large product. The solver works in
the principal axes of the features, where Bohning's bound on the softmax Hessian is diagonal and known: every
step is a safe step, no line search is needed, and Nesterov's acceleration applies.

Shapes: N images, D features, R rank, K classes, P problems (a problem is one strength on one set of images).

Sources: Bohning, "Multinomial logistic regression algorithm", AISM 1992. Nesterov, 1983; adaptive restart after
O'Donoghue and Candes, "Adaptive restart for accelerated gradient schemes", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MAX_STEPS = 2000
SEARCH_TOLERANCE = 2e-5
FIT_TOLERANCE = 1e-6
"""A problem is solved when its largest gradient entry, over the root of the curvature there, is below this."""

COMPACT_EVERY = 10
"""Solved problems are taken out of the batch this often."""

RANK_TOLERANCE = 1e-6
"""Principal axes whose singular value is below this share of the largest are noise and left out."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Standardizer:
    """Features to zero mean and unit variance, divided by the square root of their number.

    The last step makes a strength mean the same for 32 features as for 4,000.
    """

    mean_D: FloatArray
    scale_D: FloatArray

    @staticmethod
    def of(x_ND: FloatArray) -> Standardizer:
        """Measure the features; constant ones get scale infinity and so never count."""
        deviation_D = x_ND.std(axis=0, dtype=np.float64)
        magnitude_D = np.abs(x_ND).max(axis=0).astype(np.float64)
        constant_D = deviation_D <= 1e-6 * np.maximum(magnitude_D, 1e-12)
        scale_D = np.where(constant_D, np.inf, deviation_D * np.sqrt(x_ND.shape[1]))
        return Standardizer(x_ND.mean(axis=0, dtype=np.float64), scale_D)

    def apply(self, x_ND: FloatArray) -> FloatArray:
        return np.asarray((x_ND - self.mean_D) / self.scale_D)


@dataclass(frozen=True)
class Classifier:
    """A linear classifier on raw features: logits = x @ weight.T + bias, standardization folded in."""

    weight_KD: FloatArray
    bias_K: FloatArray

    def logits(self, x_ND: FloatArray) -> FloatArray:
        return np.asarray(x_ND.astype(np.float64) @ self.weight_KD.T + self.bias_K)


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold logits for every strength tried.

    `logits_SNK[s, i]` come from a classifier that never saw image i.
    """

    strengths: tuple[float, ...]
    logits_SNK: FloatArray
    labels_N: IntArray
    fold_N: IntArray

    def losses(self) -> FloatArray:
        """Mean out-of-fold log loss per strength (S,)."""
        log_norm_SN = np.logaddexp.reduce(self.logits_SNK, axis=2)
        picked_SN = self.logits_SNK[:, np.arange(len(self.labels_N)), self.labels_N]
        return np.asarray((log_norm_SN - picked_SN).mean(axis=1))

    def accuracies(self) -> FloatArray:
        """Out-of-fold accuracy per strength (S,)."""
        return np.asarray((self.logits_SNK.argmax(axis=2) == self.labels_N).mean(axis=1))

    def fold_accuracies(self, strength_index: int) -> FloatArray:
        """Accuracy in each fold (F,) at one strength."""
        hit_N = self.logits_SNK[strength_index].argmax(axis=1) == self.labels_N
        return np.array([hit_N[self.fold_N == fold].mean() for fold in np.unique(self.fold_N)])

    def best(self) -> int:
        """Index of the strength with the least out-of-fold log loss (smoother than accuracy on few images)."""
        return int(self.losses().argmin())


def cross_validate(
    x_ND: FloatArray,
    labels_N: IntArray,
    fold_N: IntArray,
    *,
    strengths: tuple[float, ...],
    classes: int,
    weight_N: FloatArray | None = None,
    device: str = "cpu",
) -> CrossValidation:
    """Fit every strength on every fold's complement and predict the fold.

    Args:
        x_ND: raw features; standardized here over all N images (labels are not used for that).
        labels_N: class indices.
        fold_N: fold of each image; at least two folds.
        strengths: L2 strengths of the mean loss on standardized features.
        classes: K; classes may be missing from a fold.
        weight_N: weight of each image in the loss, mean one.
        device: where the products run.
    """
    folds = np.unique(fold_N)
    assert len(folds) >= 2, "cross-validation needs two folds"
    axes = _principal_axes(Standardizer.of(x_ND).apply(x_ND))
    image_weight_N = np.ones(len(labels_N)) if weight_N is None else weight_N
    weight_PN = np.stack([image_weight_N * (fold_N != fold) for fold in folds for _ in strengths])
    strength_P = np.tile(np.asarray(strengths, dtype=np.float64), len(folds))
    coefficients_PRK = _solve(axes, labels_N, weight_PN, strength_P, classes, SEARCH_TOLERANCE, device)
    logits_SNK = np.empty((len(strengths), len(labels_N), classes))
    for index, fold in enumerate(folds):
        held_out = fold_N == fold
        for s in range(len(strengths)):
            logits_SNK[s, held_out] = axes.design_NR[held_out] @ coefficients_PRK[index * len(strengths) + s]
    return CrossValidation(strengths, logits_SNK, np.asarray(labels_N), np.asarray(fold_N))


def fit(
    x_ND: FloatArray,
    labels_N: IntArray,
    *,
    strength: float,
    classes: int,
    weight_N: FloatArray | None = None,
    device: str = "cpu",
) -> Classifier:
    """One classifier on all images, expressed on the raw features."""
    standardizer = Standardizer.of(x_ND)
    axes = _principal_axes(standardizer.apply(x_ND))
    weight_PN = (np.ones(len(labels_N)) if weight_N is None else weight_N)[None]
    solution_RK = _solve(axes, labels_N, weight_PN, np.array([strength]), classes, FIT_TOLERANCE, device)[0]
    weight_DK = axes.rotation_DR @ solution_RK[:-1]
    weight_KD = (weight_DK / standardizer.scale_D[:, None]).T
    return Classifier(weight_KD, solution_RK[-1] - weight_KD @ standardizer.mean_D)


@dataclass(frozen=True)
class _Axes:
    """Standardized features in their principal axes, with a last column of ones for the bias."""

    design_NR: FloatArray
    energy_R: FloatArray  # sum of squares of each column of the design
    rotation_DR: FloatArray  # without the bias column


def _principal_axes(x_ND: FloatArray) -> _Axes:
    images, features = x_ND.shape
    if images <= features:
        energy_R, left_NR = np.linalg.eigh(x_ND @ x_ND.T)
        keep = energy_R > max(energy_R[-1], 0) * RANK_TOLERANCE**2 + 1e-30
        energy_R, left_NR = energy_R[keep], left_NR[:, keep]
        rotation_DR = (x_ND.T @ left_NR) / np.sqrt(energy_R)
    else:
        energy_R, rotation_DR = np.linalg.eigh(x_ND.T @ x_ND)
        keep = energy_R > max(energy_R[-1], 0) * RANK_TOLERANCE**2 + 1e-30
        energy_R, rotation_DR = energy_R[keep], rotation_DR[:, keep]
    design_NR = np.concatenate([x_ND @ rotation_DR, np.ones((images, 1))], axis=1)
    return _Axes(design_NR, np.append(energy_R, images), rotation_DR)


def _solve(
    axes: _Axes,
    labels_N: IntArray,
    weight_PN: FloatArray,
    strength_P: FloatArray,
    classes: int,
    tolerance: float,
    device: str,
) -> FloatArray:
    """Minimize mean weighted cross-entropy + strength / 2 * ||coefficients||^2 (bias free) for each problem."""
    dtype = torch.float32
    design_NR = torch.as_tensor(axes.design_NR, dtype=dtype, device=device)
    target_NK = torch.nn.functional.one_hot(torch.as_tensor(labels_N), classes).to(device, dtype)
    weight_PN_ = torch.as_tensor(weight_PN / weight_PN.sum(axis=1, keepdims=True), dtype=dtype, device=device)
    ridge_PR = torch.as_tensor(strength_P, dtype=dtype, device=device)[:, None].repeat(1, design_NR.shape[1])
    ridge_PR[:, -1] = 0
    energy_R = torch.as_tensor(axes.energy_R, dtype=dtype, device=device)
    curvature_PR = 0.5 * weight_PN_.amax(dim=1, keepdim=True) * energy_R + ridge_PR

    solution_PRK = torch.zeros(len(strength_P), design_NR.shape[1], classes, device=device)
    state = _Descent.start(solution_PRK.clone())
    active = torch.arange(len(strength_P), device=device)
    for step in range(1, MAX_STEPS + 1):
        gradient = _gradient(design_NR, target_NK, weight_PN_[active], ridge_PR[active], state.look_PRK)
        move = gradient / curvature_PR[active, :, None]
        state = state.advance(gradient, move)
        if step % COMPACT_EVERY == 0 or step == MAX_STEPS:
            solution_PRK[active] = state.at_PRK
            steepness_P = (curvature_PR[active, :, None].sqrt() * move).abs().amax(dim=(1, 2))
            unsolved = steepness_P > tolerance
            if not bool(unsolved.any()):
                break
            active, state = active[unsolved], state.select(unsolved)
    return solution_PRK.double().cpu().numpy()


def _gradient(design_NR: Tensor, target_NK: Tensor, weight_PN: Tensor, ridge_PR: Tensor, at_PRK: Tensor) -> Tensor:
    problems, rank, classes = at_PRK.shape
    logits_NPK = (design_NR @ at_PRK.permute(1, 0, 2).reshape(rank, -1)).view(-1, problems, classes)
    residual_NPK = (logits_NPK.softmax(dim=2) - target_NK[:, None]) * weight_PN.T[:, :, None]
    data_RPK = (design_NR.T @ residual_NPK.reshape(len(design_NR), -1)).view(rank, problems, classes)
    return data_RPK.permute(1, 0, 2) + ridge_PR[:, :, None] * at_PRK


@dataclass(frozen=True)
class _Descent:
    """Accelerated descent of a batch of problems, each restarted when its momentum points uphill."""

    at_PRK: Tensor
    look_PRK: Tensor
    momentum_P: Tensor

    @staticmethod
    def start(at_PRK: Tensor) -> _Descent:
        return _Descent(at_PRK, at_PRK.clone(), torch.ones(len(at_PRK), device=at_PRK.device))

    def advance(self, gradient_PRK: Tensor, move_PRK: Tensor) -> _Descent:
        after_PRK = self.look_PRK - move_PRK
        travelled_PRK = after_PRK - self.at_PRK
        uphill_P = (gradient_PRK * travelled_PRK).sum(dim=(1, 2)) > 0
        before_P = torch.where(uphill_P, torch.ones_like(self.momentum_P), self.momentum_P)
        momentum_P = (1 + (1 + 4 * before_P**2).sqrt()) / 2
        push_P = torch.where(uphill_P, torch.zeros_like(before_P), (before_P - 1) / momentum_P)
        return _Descent(after_PRK, after_PRK + push_P[:, None, None] * travelled_PRK, momentum_P)

    def select(self, keep_P: Tensor) -> _Descent:
        return _Descent(self.at_PRK[keep_P], self.look_PRK[keep_P], self.momentum_P[keep_P])
