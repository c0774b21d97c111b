"""Multinomial logistic regression for many regularization strengths and folds at once.

All problems share one matrix of features, so their forward passes are one large product. The solver works in the
principal axes of the features, where Bohning's bound on the softmax Hessian is diagonal and known: it scales the steps
of a limited-memory BFGS that minimizes all problems at once. Strengths are taken from strong to weak, and each problem
starts where its last two solutions, as a line over the logarithm of the strength, point to.

Sources: Bohning, "Multinomial logistic regression algorithm", AISM 1992; for the one standard error rule Breiman,
Friedman, Olshen and Stone, "Classification and Regression Trees", 1984.

Shapes: N images, D features, R rank, K classes, P problems (a problem is one strength on one set of images), F folds.
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

from finetune_advisor.metrics import family_error
from finetune_advisor.probes.lbfgs import minimize

log = logging.getLogger(__name__)

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


_FEATURES = 128
"""That are standardized together."""


@dataclass(frozen=True)
class Standardizer:
    """Features to zero mean, divided so that their variances add up to one.

    A strength thus means the same for 32 features as for 4,000, and in whatever unit they all are.
    """

    mean_D: FloatArray
    scale_D: FloatArray

    @staticmethod
    def of(x_ND: FloatArray) -> Standardizer:
        """To equal variances; constant features get scale infinity and so never count."""
        deviation_D = _deviations(x_ND)
        return Standardizer(_means(x_ND), np.where(deviation_D == 0, np.inf, deviation_D * np.sqrt(x_ND.shape[1])))

    @staticmethod
    def pareto(x_ND: FloatArray) -> Standardizer:
        """To variances in proportion to the features' deviations, which is halfway to equal ones; as above otherwise.

        The deviation that a few images show is largely luck, and what hardly varies would be blown up to as much as
        what the network answers with. On six data sets classifiers of images held out of training recognized 1 to 10
        points more with 5 images a class than at equal variances, 0 to 5 more with 20, and as many or up to 3 more
        with 60.

        Source: van den Berg, Hoefsloot, Westerhuis, Smilde and van der Werf, "Centering, scaling, and transformations:
        improving the biological information content of metabolomics data", 2006 (Pareto scaling).
        """
        deviation_D = _deviations(x_ND)
        scale_D = np.sqrt(deviation_D * deviation_D.sum())
        return Standardizer(_means(x_ND), np.where(deviation_D == 0, np.inf, scale_D))

    def apply(self, x_ND: FloatArray) -> FloatArray:
        """In the precision of the features, calculated in double precision."""
        standardized_ND = np.subtract(x_ND, self.mean_D, out=np.empty_like(x_ND), casting="same_kind")
        return np.divide(standardized_ND, self.scale_D, out=standardized_ND, casting="same_kind")


def _means(x_ND: FloatArray) -> FloatArray:
    return np.asarray(x_ND.mean(axis=0, dtype=np.float64))


def _deviations(x_ND: FloatArray) -> FloatArray:
    """Of each feature (D,); exactly 0 where it is constant but for rounding."""
    # A few features at a time: NumPy makes a copy in double precision of what it takes the deviation of.
    parts = [x_ND[:, start : start + _FEATURES] for start in range(0, x_ND.shape[1], _FEATURES)]
    deviation_D = np.concatenate([part_ND.std(axis=0, dtype=np.float64) for part_ND in parts])
    magnitude_D = np.maximum(x_ND.max(axis=0), -x_ND.min(axis=0)).astype(np.float64)
    return np.where(deviation_D <= 1e-6 * np.maximum(magnitude_D, 1e-12), 0.0, deviation_D)


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
        better than they are, because images of one object or scene lie on both sides. The error is that of the
        difference between two strengths on the same folds: some folds are harder than others for every strength.
        """
        loss_SF = self._fold_losses()
        mean_S = self.losses()
        least = int(mean_S.argmin())
        error_S = (loss_SF - loss_SF[least]).std(axis=1, ddof=1) / np.sqrt(loss_SF.shape[1])
        within = [s for s in range(len(self.strengths)) if mean_S[s] <= mean_S[least] + error_S[s]]
        return max(within, key=lambda s: self.strengths[s])

    def standard_error(self, strength_index: int, family_N: IntArray) -> float:
        """Standard error of the out-of-fold accuracy: over families or over folds, whichever is larger.

        Folds vary by more than families where their classifiers differ.
        """
        hit_N = self.logits_SNK[strength_index].argmax(axis=1) == self.labels_N
        over_families = family_error(hit_N.astype(float), family_N)
        accuracy_F = self.fold_accuracies(strength_index)
        return float(max(over_families, accuracy_F.std(ddof=1) / np.sqrt(len(accuracy_F))))

    def _fold_losses(self) -> FloatArray:
        """Mean log loss of each strength in each fold (S, F)."""
        loss_SN = self._image_losses()
        return np.stack([loss_SN[:, self.fold_N == fold].mean(axis=1) for fold in np.unique(self.fold_N)], axis=1)

    def _image_losses(self) -> FloatArray:
        log_norm_SN = np.logaddexp.reduce(self.logits_SNK, axis=2)
        picked_SN = self.logits_SNK[:, np.arange(len(self.labels_N)), self.labels_N]
        return np.asarray(self.weight_N * (log_norm_SN - picked_SN))


@few_threads()
def cross_validate(
    x_ND: FloatArray,
    labels_N: IntArray,
    fold_N: IntArray,
    *,
    strengths: tuple[float, ...],
    classes: int,
    weight_N: FloatArray | None = None,
    most_axes: int | None = None,
    device: str = "cpu",
) -> CrossValidation:
    """Fit every strength on every fold's complement and predict the fold.

    Args:
        x_ND: raw features; scaled here over all N images (`Standardizer.pareto`; labels are not used).
        labels_N: class indices.
        fold_N: fold of each image; at least two folds.
        strengths: L2 strengths of the mean loss on scaled features.
        classes: K; classes may be missing from a fold.
        weight_N: weight of each image in the loss, mean one.
        most_axes: use no more than so many principal axes of the features, which bounds the time.
        device: where the products run.
    """
    folds = np.unique(fold_N)
    assert len(folds) >= 2, "cross-validation needs two folds"
    axes = principal_axes(Standardizer.pareto(x_ND).apply(x_ND), most=most_axes)
    image_weight_N = np.ones(len(labels_N)) if weight_N is None else weight_N
    logits_SNK = np.empty((len(strengths), len(labels_N), classes))
    weight_FN = np.stack([image_weight_N * (fold_N != fold) for fold in folds])
    for chunk in chunks(len(folds), axes, classes):
        path = solution_path(axes, labels_N, weight_FN[chunk], strengths, classes, device)
        for s, solved_FRK in path:
            for fold, solution_RK in zip(folds[chunk], solved_FRK, strict=True):
                held_out = fold_N == fold
                logits_SNK[s, held_out] = axes.design_NR[held_out] @ solution_RK
    return CrossValidation(strengths, logits_SNK, np.asarray(labels_N), np.asarray(fold_N), image_weight_N)


@few_threads()
def fit_many(
    x_ND: FloatArray,
    labels_N: IntArray,
    weight_PN: FloatArray,
    strength_P: FloatArray,
    *,
    classes: int,
    together: int,
    most_axes: int | None = None,
    device: str = "cpu",
) -> npt.NDArray[np.float32]:
    """Many rough classifiers on parts of the same images, and what each says of every image.

    Args:
        x_ND: raw features; scaled here over all N images (`Standardizer.pareto`; labels are not used).
        labels_N: class indices.
        weight_PN: weight of each image in the loss of each problem, of any scale; 0 leaves the image out.
        strength_P: L2 strength of each problem.
        classes: K; classes may be missing from a problem.
        together: problems that are neighbors in the list are solved together, so many at a time. Images that none of
            them uses cost nothing then.
        most_axes: use no more than so many principal axes of the features, which bounds the time.
        device: where the products run.

    Returns:
        logits (P, N, K).
    """
    axes = principal_axes(Standardizer.pareto(x_ND).apply(x_ND), most=most_axes)
    design_NR = axes.design_NR
    logits_PNK = np.empty((len(weight_PN), len(labels_N), classes), np.float32)
    for chunk in chunks(len(weight_PN), axes, classes, most=together):
        used_N = weight_PN[chunk].any(axis=0)
        used_MR = design_NR[used_N]
        part = Axes(used_MR, np.einsum("mr,mr->r", used_MR, used_MR))
        solved_PRK = solve(
            part, labels_N[used_N], weight_PN[chunk][:, used_N], strength_P[chunk], classes, ROUGH_TOLERANCE, device
        )
        logits_PNK[chunk] = np.einsum("nr,prk->pnk", design_NR, solved_PRK.astype(np.float32), optimize=True)
    return logits_PNK


@few_threads()
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
    standardizer = Standardizer.pareto(x_ND)
    standardized_ND = standardizer.apply(x_ND)
    axes = principal_axes(standardized_ND)
    weight_PN = (np.ones(len(labels_N)) if weight_N is None else weight_N)[None]
    solution_RK = solve(axes, labels_N, weight_PN, np.array([strength]), classes, FIT_TOLERANCE, device)[0]
    weight_DK = axes.rotation(standardized_ND) @ solution_RK[:-1]
    weight_KD = (weight_DK / standardizer.scale_D[:, None]).T
    return Classifier(weight_KD, solution_RK[-1] - weight_KD @ standardizer.mean_D)
