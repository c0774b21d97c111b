"""Strategies that leave the network as it is: a linear classifier on cached features.

Shapes: N images, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from finetune_advisor.backbones.wrappers.stage_probe import POOLED
from finetune_advisor.dataset import TRAINABLE, Dataset
from finetune_advisor.errors import BackboneError, did_you_mean
from finetune_advisor.features.extract import Features
from finetune_advisor.metrics import softmax
from finetune_advisor.probes import logistic
from finetune_advisor.records.history import Record
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe


def balanced(labels_N: npt.NDArray[np.integer], classes: int) -> npt.NDArray[np.float64]:
    """Weight of each class (K,) so that all classes count the same and the mean over the images is one."""
    counts_K = np.bincount(labels_N, minlength=classes)
    return np.asarray(len(labels_N) / (np.count_nonzero(counts_K) * np.maximum(counts_K, 1)))


FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class FittedProbe:
    """The classifier fitted on all trainable images, and how the strengths compared on folds.

    `val_NK` are out-of-fold probabilities of the trainable images `val_index_N`, at the chosen strength.
    """

    classifier: logistic.Classifier
    strength: float
    stages: tuple[str, ...] | None
    """Stages whose features are joined; None for the linear probe, which takes what the network's classifier sees."""
    val_index_N: npt.NDArray[np.intp]
    val_NK: FloatArray
    records: tuple[Record, ...]

    def probabilities(self, features: Features) -> FloatArray:
        """Probabilities (N, K) of images whose features are given."""
        return softmax(self.classifier.logits(_inputs(features, self.stages)))


def fit_probe(
    strategy: LinearProbe | StageProbe, data: Dataset, *, class_weights: bool, seed: int, device: str
) -> FittedProbe:
    """Choose the strength on folds of training and validation images, then fit on all of them.

    Raises:
        BackboneError: a stage that the backbone does not have.
    """
    start = perf_counter()
    features = data.features[0]
    stages = probe_stages(strategy, features.stages)
    index_N = data.index(*TRAINABLE)
    labels_N = data.labels(index_N)
    weight_N = balanced(labels_N, len(data.classes))[labels_N] if class_weights else None
    x_ND = _inputs(features.rows(index_N), stages)
    searched = logistic.cross_validate(
        x_ND,
        labels_N,
        data.folds(index_N, folds=strategy.folds, seed=seed),
        strengths=strategy.strengths,
        classes=len(data.classes),
        weight_N=weight_N,
        device=device,
    )
    best = searched.best()
    classifier = logistic.fit(
        x_ND,
        labels_N,
        strength=searched.strengths[best],
        classes=len(data.classes),
        weight_N=weight_N,
        device=device,
    )
    seconds = perf_counter() - start
    return FittedProbe(
        classifier=classifier,
        strength=searched.strengths[best],
        stages=stages,
        val_index_N=index_N,
        val_NK=softmax(searched.logits_SNK[best]),
        records=tuple(_records(searched, best, seconds)),
    )


def probe_stages(strategy: LinearProbe | StageProbe, stages: Sequence[str]) -> tuple[str, ...] | None:
    """The places whose features a strategy joins, of a network with these stages; None for the linear probe.

    Raises:
        BackboneError: a stage that the backbone does not have.
    """
    if isinstance(strategy, LinearProbe):
        return None
    places = (*stages, POOLED)
    if strategy.stages == "all":
        return places
    for name in strategy.stages:
        if name not in places:
            raise BackboneError(
                f"strategy.stages: this backbone has no stage {name!r}{did_you_mean(name, places)}",
                f"Choose from: {', '.join(places)}; or `all`.",
            )
    return strategy.stages


def _inputs(features: Features, stages: tuple[str, ...] | None) -> FloatArray:
    return features.stage(POOLED) if stages is None else features.concatenated(stages)


def _records(searched: logistic.CrossValidation, best: int, seconds: float) -> list[Record]:
    return [
        Record(
            step=number,
            epoch=0.0,
            lr=None,
            train_loss=None,
            train_accuracy=None,
            val_loss=float(loss),
            val_accuracy=float(accuracy),
            images_per_second=None,
            seconds=seconds,
            strength=strength,
            chosen=number == best + 1,
        )
        for number, (strength, loss, accuracy) in enumerate(
            zip(searched.strengths, searched.losses(), searched.accuracies(), strict=True), start=1
        )
    ]
