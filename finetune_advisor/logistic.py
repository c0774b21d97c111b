"""Multinomial logistic regression for many strengths and folds at once.

Shapes: N images, D features, R rank, K classes, P problems (a problem is one strength on one set of images), F folds.

Source of the one standard error rule: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_advisor.logistic_solver import (
    FIT_TOLERANCE,
    ROUGH_TOLERANCE,
    Axes,
    chunks,
    few_threads,
    principal_axes,
    solution_path,
    solve,
)
from finetune_advisor.metrics import family_error

_FEATURES = 128
"""That are standardized together."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


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
