"""Curves of a training, and what can be measured on a curve: how far, how straight, how rough, whether it still moves.

Shapes: T evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.history import Record

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
