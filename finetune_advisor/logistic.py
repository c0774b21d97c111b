"""Multinomial logistic regression for many strengths and folds at once.

All problems share one matrix of features, so their forward passes are one large product. The solver works in
the principal axes of the features, where Bohning's bound on the softmax Hessian is diagonal and known: it scales the
steps of a limited-memory BFGS that minimizes all problems at once.

Shapes: N images, D features, R rank, K classes, P problems (a problem is one strength on one set of images).

Sources: Bohning, "Multinomial logistic regression algorithm", AISM 1992. One standard error rule: Breiman, Friedman,
Olshen and Stone, "Classification and Regression Trees", 1984.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finetune_advisor.batched_lbfgs import minimize

SEARCH_TOLERANCE = 2e-5
FIT_TOLERANCE = 1e-6
"""A problem is solved when its largest gradient entry, over the root of the curvature there, is below this."""

RANK_TOLERANCE = 1e-6
"""Principal axes whose singular value is below this share of the largest are noise and left out."""

WORKING_FLOATS = 2**26
"""Problems are solved together as long as their logits for all images have no more numbers than this (256 MiB)."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

log = logging.getLogger(__name__)


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
    weight_N: FloatArray
    """Weight of each image in the loss, mean one."""

    def losses(self) -> FloatArray:
        """Mean weighted out-of-fold log loss per strength (S,)."""
        return np.asarray(self._image_losses().mean(axis=1))

    def accuracies(self) -> FloatArray:
        """Out-of-fold accuracy per strength (S,)."""
        return np.asarray((self.logits_SNK.argmax(axis=2) == self.labels_N).mean(axis=1))

    def fold_accuracies(self, strength_index: int) -> FloatArray:
        """Accuracy in each fold (F,) at one strength."""
        hit_N = self.logits_SNK[strength_index].argmax(axis=1) == self.labels_N
        return np.array([hit_N[self.fold_N == fold].mean() for fold in np.unique(self.fold_N)])

    def best(self) -> int:
        """Index of the strongest regularization whose log loss is within one standard error of the least.

        Log loss is smoother than accuracy on few images. The margin is the usual guard against folds that look
        better than they are, because images of one object or scene lie on both sides.
        """
        loss_SF = self._fold_losses()
        mean_S = self.losses()
        least = int(mean_S.argmin())
        error = loss_SF[least].std(ddof=1) / np.sqrt(loss_SF.shape[1])
        within = [s for s in range(len(self.strengths)) if mean_S[s] <= mean_S[least] + error]
        return max(within, key=lambda s: self.strengths[s])

    def _fold_losses(self) -> FloatArray:
        """Mean log loss of each strength in each fold (S, F)."""
        loss_SN = self._image_losses()
        return np.stack([loss_SN[:, self.fold_N == fold].mean(axis=1) for fold in np.unique(self.fold_N)], axis=1)

    def _image_losses(self) -> FloatArray:
        log_norm_SN = np.logaddexp.reduce(self.logits_SNK, axis=2)
        picked_SN = self.logits_SNK[:, np.arange(len(self.labels_N)), self.labels_N]
        return np.asarray(self.weight_N * (log_norm_SN - picked_SN))


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
    problems = [(s, fold) for s in range(len(strengths)) for fold in folds]
    logits_SNK = np.empty((len(strengths), len(labels_N), classes))
    for chunk in _chunks(problems, len(labels_N) * classes):
        weight_PN = np.stack([image_weight_N * (fold_N != fold) for _, fold in chunk])
        strength_P = np.array([strengths[s] for s, _ in chunk])
        solved_PRK = _solve(axes, labels_N, weight_PN, strength_P, classes, SEARCH_TOLERANCE, device)
        for (s, fold), solution_RK in zip(chunk, solved_PRK, strict=True):
            held_out = fold_N == fold
            logits_SNK[s, held_out] = axes.design_NR[held_out] @ solution_RK
    return CrossValidation(strengths, logits_SNK, np.asarray(labels_N), np.asarray(fold_N), image_weight_N)


def _chunks(problems: list[tuple[int, int]], floats_each: int) -> Iterator[list[tuple[int, int]]]:
    """As many problems at once as memory allows, those of like strength together: they converge alike."""
    size = max(1, WORKING_FLOATS // floats_each)
    for start in range(0, len(problems), size):
        yield problems[start : start + size]


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
    share_PN = torch.as_tensor(weight_PN / weight_PN.sum(axis=1, keepdims=True), dtype=dtype, device=device)
    ridge_PR = torch.as_tensor(strength_P, dtype=dtype, device=device)[:, None].repeat(1, design_NR.shape[1])
    ridge_PR[:, -1] = 0
    energy_R = torch.as_tensor(axes.energy_R, dtype=dtype, device=device)
    curvature_PR = 0.5 * share_PN.amax(dim=1, keepdim=True) * energy_R + ridge_PR

    def objective(at_PRK: Tensor, problem_P: Tensor) -> tuple[Tensor, Tensor]:
        return _loss(design_NR, target_NK, share_PN[problem_P], ridge_PR[problem_P], at_PRK)

    start_PRK = torch.zeros(len(strength_P), design_NR.shape[1], classes, device=device)
    solution_PRK, unsolved = minimize(objective, start_PRK, curvature_PV=curvature_PR[:, :, None], tolerance=tolerance)
    if unsolved:
        log.info("%d of %d classifiers stopped before they had converged", unsolved, len(strength_P))
    # In this order: some devices have no double precision.
    return solution_PRK.cpu().double().numpy()


def _loss(
    design_NR: Tensor, target_NK: Tensor, share_PN: Tensor, ridge_PR: Tensor, at_PRK: Tensor
) -> tuple[Tensor, Tensor]:
    """Value (P,) and gradient (P, R, K) of the regularized loss; `share_PN` are image weights that add up to one."""
    problems, rank, classes = at_PRK.shape
    logits_NPK = (design_NR @ at_PRK.permute(1, 0, 2).reshape(rank, -1)).view(-1, problems, classes)
    log_NPK = logits_NPK.log_softmax(dim=2)
    share_NP = share_PN.T
    fit_P = -((log_NPK * target_NK[:, None]).sum(dim=2) * share_NP).sum(dim=0)
    residual_NPK = (log_NPK.exp() - target_NK[:, None]) * share_NP[:, :, None]
    data_RPK = (design_NR.T @ residual_NPK.reshape(len(design_NR), -1)).view(rank, problems, classes)
    pull_PRK = ridge_PR[:, :, None] * at_PRK
    return fit_P + 0.5 * (pull_PRK * at_PRK).sum(dim=(1, 2)), data_RPK.permute(1, 0, 2) + pull_PRK
