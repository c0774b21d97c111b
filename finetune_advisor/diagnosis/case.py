"""What a sign looks at: everything known about a run, gathered once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from finetune_advisor.artifacts.history import Record
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.diagnosis.curves import Curves, FloatArray, curves_of, tail
from finetune_advisor.metrics import Z95

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
