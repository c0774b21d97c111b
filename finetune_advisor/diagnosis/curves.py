"""Everything known about a run, gathered once, and what can be measured on its curves.

Shapes: T evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune_advisor.metrics import Z95
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import Record

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The evaluations of a training up to the first whose loss is no number."""

    epoch_T: FloatArray
    train_loss_T: FloatArray
    train_accuracy_T: FloatArray
    val_loss_T: FloatArray
    val_accuracy_T: FloatArray
    rate_T: FloatArray
    """Largest rate of any group, as a share of the largest there was; ones where it was not recorded."""
    update_ratio: dict[str, float]
    """Of each group the largest in any epoch."""
    loss_noise: float | None
    """Of a batch's loss, the median over epochs."""
    steps_per_epoch: float
    broken: str | None
    """Why the loss was no number at some point, whether or not training went on; None as long as it was one."""

    def __len__(self) -> int:
        return len(self.epoch_T)

    @property
    def expected_roughness(self) -> float:
        """Of the training loss, which is a mean over batches, where nothing but their noise is in it; 0 if unknown."""
        return (self.loss_noise or 0.0) / math.sqrt(max(1.0, self.steps_per_epoch))

    @property
    def rate_spent(self) -> FloatArray:
        """How much rate was spent up to each evaluation, from 0 to 1: time as the weights feel it."""
        if not len(self):
            return np.zeros(0)
        before_T = np.concatenate([self.rate_T[:1], self.rate_T[:-1]])
        length_T = np.diff(self.epoch_T, prepend=0.0)
        spent_T = np.cumsum(length_T * (before_T + self.rate_T) / 2)
        return np.asarray(spent_T / spent_T[-1]) if spent_T[-1] > 0 else np.asarray(self.epoch_T / self.epoch_T[-1])


def curves_of(records: Sequence[Record]) -> Curves:
    """The curves of a training's history."""
    whole = []
    broken = next((event for record in records for event in record.events if _is_about_numbers(event)), None)
    for record in records:
        if not all(_is_number(value) for value in _losses(record)):
            broken = broken or f"The loss is no number at step {record.step}."
            break
        whole.append(record)
    rates = [max(record.lr.values()) if record.lr else math.nan for record in whole]
    known = bool(rates) and all(_is_number(rate) for rate in rates) and max(rates) > 0
    noises = [record.loss_noise for record in whole if _is_number(record.loss_noise)]
    losses_T4 = np.array([_losses(record) for record in whole], dtype=np.float64).reshape(-1, 4)
    return Curves(
        epoch_T=np.array([record.epoch for record in whole], dtype=np.float64),
        train_loss_T=losses_T4[:, 0],
        train_accuracy_T=losses_T4[:, 1],
        val_loss_T=losses_T4[:, 2],
        val_accuracy_T=losses_T4[:, 3],
        rate_T=np.array(rates) / max(rates) if known else np.ones(len(whole)),
        update_ratio=_largest_ratios(whole),
        steps_per_epoch=whole[-1].step / whole[-1].epoch if whole and whole[-1].epoch else 1.0,
        loss_noise=float(np.median(np.array(noises, dtype=np.float64))) if noises else None,
        broken=broken,
    )


def _losses(record: Record) -> tuple[float | None, float | None, float | None, float | None]:
    return record.train_loss, record.train_accuracy, record.val_loss, record.val_accuracy


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _is_about_numbers(event: str) -> bool:
    return event.startswith(("The loss", "The gradient"))


def _largest_ratios(records: Sequence[Record]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for record in records:
        for group, ratio in (record.update_ratio or {}).items():
            # Below a classifier that begins at zero, the first step moves nothing at any rate.
            if _is_number(ratio) and ratio > 0:
                largest[group] = max(ratio, largest.get(group, 0.0))
    return largest


def roughness(values_T: FloatArray) -> float:
    """Standard deviation around a curve's own trend: second differences know nothing of a straight line.

    Source: Gasser, Sroka and Jennen-Steinmetz, "Residual variance and residual pattern in nonlinear regression",
    Biometrika 1986.
    """
    if len(values_T) < 3:
        return 0.0
    return float(np.sqrt((np.diff(values_T, n=2) ** 2).mean() / 6))


def tail(values_T: FloatArray, share: float = 0.25) -> FloatArray:
    """The last evaluations: a quarter of them, at least two where there are so many."""
    return values_T[-max(2, round(share * len(values_T))) :]


def slope(x_T: FloatArray, y_T: FloatArray) -> tuple[float, float]:
    """Slope of a straight line through the points, and its standard error (infinite below three points)."""
    if len(x_T) < 2 or np.ptp(x_T) == 0:
        return 0.0, math.inf
    centered_T = x_T - x_T.mean()
    spread = float((centered_T**2).sum())
    steep = float((centered_T * (y_T - y_T.mean())).sum() / spread)
    if len(x_T) < 3:
        return steep, math.inf
    rest_T = y_T - y_T.mean() - steep * centered_T
    return steep, float(np.sqrt((rest_T**2).sum() / (len(x_T) - 2) / spread))


_DRAWS = 500
"""Of a mixing, to know what its labels leave of the loss."""


@dataclass(frozen=True)
class WeightFacts:
    """What was measured on the network, beside the same on the one it started from."""

    roughness: float | None = None
    """Of the filters of the first layer; None where it did not train or is no convolution over some pixels."""
    roughness_before: float | None = None
    dead: float | None = None
    """Share of the units that are zero for every image that was shown; None where units cannot die."""
    dead_before: float | None = None
    images: int = 0
    """That were shown."""


@dataclass(frozen=True)
class Case:
    """A run as the signs see it."""

    recipe: Recipe
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    val_images: int
    val: Mapping[str, Any] | None = None
    """The block of metrics.json; None for a run that did not finish."""
    weights: WeightFacts | None = None
    suspects: tuple[str, ...] = ()
    """Training images whose labels the analysis doubts."""
    refit: tuple[Record, ...] = ()
    """Of the second training, on validation images too, as far as it came; empty where there is none."""
    leak: str | None = None
    """What near-duplicates of training images do to the score, a sentence."""

    @property
    def trains(self) -> bool:
        return self.recipe.strategy.trains_network

    @cached_property
    def curves(self) -> Curves:
        return curves_of(self.records if self.trains else ())

    @property
    def refit_loss_T(self) -> FloatArray:  # noqa: N802
        """Training loss of the second training where it is a number."""
        return np.array([record.train_loss for record in self.refit if record.train_loss is not None])

    def reached(self, last: Record) -> str:
        """Where a training is whose last evaluation this is, and where it is to go."""
        budget = self.recipe.budget
        assert budget is not None, "only what trains has a budget"
        if budget.steps is not None:
            return f"step {last.step:,} of {budget.steps:,}"
        epoch = f"epoch {last.epoch:.3g}"
        if budget.epochs is not None:
            return f"{epoch} of {budget.epochs}"
        return f"{epoch}, with {getattr(budget, budget.unit):,} {budget.unit} in all"

    @property
    def chance_loss(self) -> float:
        """Training loss of naming all classes alike, in nats."""
        classes = max(2, len(self.classes))
        return math.log(classes) if self.recipe.loss is None else self.recipe.loss.at_chance(classes)

    @cached_property
    def lowest_loss(self) -> float:
        """What smoothed and mixed labels leave of the training loss when every image is recognized, in nats."""
        loss, mixing, others = self.recipe.loss, self.recipe.mixing, max(2, len(self.classes)) - 1
        if loss is None:
            return 0.0
        alone = loss.lowest([1.0] + [0.0] * others)
        if mixing is None:
            return alone
        rng = np.random.default_rng(0)
        shares = [mixing.drawn_share(rng) for _ in range(_DRAWS)]
        mixed = float(np.mean([loss.lowest([share, 1 - share] + [0.0] * (others - 1)) for share in shares]))
        # Where classes are of one size, so many pairs are of two classes.
        return alone + (mixed - alone) * others / (others + 1)

    @cached_property
    def progress(self) -> FloatArray:
        """How far the training loss has come at each evaluation: 0 is chance, 1 is the lowest there is."""
        loss_T = self.curves.train_loss_T
        return np.asarray((self.chance_loss - loss_T) / (self.chance_loss - self.lowest_loss))

    @property
    def learned(self) -> float:
        """The same in the end."""
        return float(tail(self.progress).mean())

    @property
    def accuracy_error(self) -> float:
        """Standard error of a validation accuracy, from the number of images and of groups that it is of."""
        accuracy = float(tail(self.curves.val_accuracy_T).mean())
        # Two successes and two failures more: an accuracy of 1 on 20 images is not certain.
        share = (accuracy * self.val_images + 2) / (self.val_images + 4)
        error = math.sqrt(share * (1 - share) / (self.val_images + 4))
        if self.val is None or self.val.get("accuracy_groups", self.val_images) == self.val_images:
            return error
        low, high = self.val["accuracy_ci95"]
        return max(error, float(high - low) / (2 * Z95))

    @property
    def gap(self) -> float:
        """Training accuracy over validation accuracy, in the end."""
        curves = self.curves
        return float(tail(curves.train_accuracy_T).mean() - tail(curves.val_accuracy_T).mean())
