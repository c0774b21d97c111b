"""What the data is: the noun that `analyze` makes and `advise` reads, stored as `analysis/profile.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from finetune_advisor.errors import DataError
from finetune_advisor.records.facts import Document, Fact, Name, Speed
from finetune_advisor.records.health import Health
from finetune_advisor.storage.paths import path_beside, path_for_file, weights_beside, weights_for_file

PROFILE_NAME = "profile.json"
"""What a profile is called on the disk."""

Cell = Literal["linear_probe", "stage_probe", "few_layers", "many_layers"]
"""A cell of the 2x2 table, named by the recipe it points to."""


class SplitCount(Fact):
    images: int
    per_class: dict[Name, int]


class Sampled(Fact):
    """How many of the images were looked at: all of them, or a stratified sample where there are very many."""

    images: int
    """Images that were measured."""
    of: int
    """Images that were listed."""


class CurvePoint(Fact):
    """A point of the learning curve: a probe fitted on a part of the images, several times."""

    images: float
    """Training images of the probe."""
    accuracy: float
    std: float
    """Standard deviation over draws of the part."""


class PowerLaw(Fact):
    """error(n) = floor + scale * n ** -exponent."""

    floor: float
    scale: float
    exponent: float


class Forecast(Fact):
    """What the power law says of another number of images, with its 95 % interval."""

    images: float
    accuracy: float
    low: float
    high: float


class Size(Fact):
    """How much there is to learn from: trainable images, that is training and validation."""

    images: int
    per_class: float
    """Mean number of trainable images a class."""
    effective_classes: float
    """The number of equally large classes that would be as hard to guess: exp of the entropy of the class shares."""
    smallest_class: int
    learning_curve: tuple[CurvePoint, ...] = ()
    power_law: PowerLaw | None = None
    forecast: Forecast | None = None
    """Of a probe with ten times the images."""
    amount: float | None = None
    """0 is hardly any data, 1 more than could be asked for; continuous."""
    verdict: Literal["little", "plenty"] | None = None
    threshold: float | None = None
    """The amount from which there is plenty."""
    counted_per_class: float | None = None
    """Images per class that the amount counts: per effective class, or what the smallest class allows for."""
    plenty_per_class: float | None = None
    """Images per class from which there is plenty, for this learning curve."""

    @property
    def per_effective_class(self) -> float:
        return self.images / self.effective_classes


class StageSimilarity(Fact):
    stage: str
    score: float
    divergence: float
    """Of the features at a BatchNorm input from ImageNet's, in nats; see `analysis/similarity.py`."""


class Similarity(Fact):
    """How much the images look like ImageNet to the ruler; 1 is ImageNet itself, 0 nothing like it."""

    score: float
    low: float
    high: float
    """Ends of the 95 % bootstrap interval over images."""
    early: float = 1.0
    """What resolution, sensor, color and texture say, 0..1: the stages of the ruler."""
    late: float = 1.0
    """What the content says, 0..1: the ruler's ImageNet classifier."""
    per_stage: tuple[StageSimilarity, ...]
    max_logit: float
    """Mean largest logit of the ImageNet classifier; ImageNet photographs reach about 10."""
    entropy: float
    """Mean entropy of the ImageNet classifier's answer, in nats; ImageNet photographs have about 1.4."""
    verdict: Literal["similar", "different"] | None = None
    threshold: float | None = None
    confidence: float | None = None
    """Probability that the score is on the verdict's side of the threshold, neither of which is known exactly."""


class ProbeScore(Fact):
    """A linear classifier on the frozen features of one stage, judged out of fold."""

    stage: str
    accuracy: float
    std: float
    """Standard error of the accuracy: over families of images, or over folds where that is larger."""
    log_loss: float
    strength: float
    """The strongest regularization whose log loss is within one standard error of the least."""
    least_loss_strength: float | None = None
    """The one with the least log loss; None in profiles of versions that did not keep it."""


BEATS_MAJORITY = 0.02
"""Accuracy over the share of the largest class, up to which a classifier cannot tell what a view does."""

View = Literal["horizontal_flip", "vertical_flip", "rotation_90", "gray", "pad", "small"]
"""Another way of showing the images; `small` is at 128 pixels."""


class ViewEffect(Fact):
    """What another view of the images does to a probe, on a sample of the trainable images and the same folds."""

    view: View
    images: int
    """Images in the sample."""
    accuracy: float
    """Out-of-fold accuracy as the images are."""
    transferred: float
    """The same classifiers' accuracy on held-out images in the other view."""
    refitted: float
    """Accuracy of classifiers fitted on the view (pad, small) or on both views together (the others)."""
    std: float
    """Standard error of `refitted - accuracy`, the images paired."""
    transferred_std: float
    """Standard error of `transferred - accuracy`, the images paired."""
    majority: float | None = None
    """Share of the sample's largest class; None in profiles of versions that did not keep it."""
    majority_std: float | None = None
    """Standard error of `accuracy - majority`, the images paired."""

    @property
    def beats_majority(self) -> bool:
        """Whether the classifier knows more than the largest class: one that does not loses nothing by any view."""
        if self.majority is None or self.majority_std is None:
            return False
        return self.accuracy - self.majority > max(BEATS_MAJORITY, 2 * self.majority_std)


class Predicted(Fact):
    """What the chosen recipe should score on unseen images like these."""

    accuracy: float
    low: float
    high: float
    basis: str
    """Where the figure comes from."""
    majority: float | None = None
    """Accuracy of always naming the largest class of the trainable images; None where classes were not counted."""


class Neighbor(Fact):
    """A cell across a border that the data is near to."""

    cell: Cell
    probability: float
    """That the data belongs there, given the intervals of what was measured."""
    decides: str
    """What would decide, in a sentence."""


class Seconds(Fact):
    listing: float
    images: float
    probes: float
    views: float = 0.0
    total: float


class Profile(Document):
    """The measured data set. Verdicts and cell stay None until `advice` has placed it in the table."""

    format: Literal[2] = 2
    data: Name
    """Where the images are; in the file, a relative path is relative to its folder, and so is that of `weights`."""
    group: Name | None = None
    """Column of the manifest whose values never straddle a split."""
    path_column: Name | None = None
    label_column: Name | None = None
    """Columns of the manifest that a person named; None: those with the usual names."""
    merge_classes: bool = False
    class_folders: Literal["outer", "inner"] | None = None
    backbone: str
    weights: str
    size_px: int
    seed: int
    validation: float
    images: int
    sampled: Sampled | None = None
    """None where every image was looked at."""
    classes: tuple[Name, ...]
    contents: str | None = None
    """Fingerprint of the images that were measured (`data.digest.fingerprint`): `run` counts by it what was added,
    removed or changed since; None in profiles of earlier versions."""
    groups: tuple[tuple[Name, ...], ...] | None = None
    """Images that stay on one side of every split, two and more: byte-identical files, near-duplicates, even those that
    are only plausible, and the user's own groups. None in profiles of earlier versions."""
    splits: dict[str, SplitCount]
    health: Health
    size: Size
    similarity: Similarity
    probes: tuple[ProbeScore, ...]
    """In the order of the stages, then `pooled` (what the classifier sees), then `all` stages concatenated."""
    views: tuple[ViewEffect, ...] = ()
    predicted: Predicted | None = None
    cell: Cell | None = None
    confidence: float | None = None
    """Probability of the cell, given the intervals of what was measured."""
    neighbors: tuple[Neighbor, ...] = ()
    """Cells that are worth a thought, most probable first."""
    speed: Speed | None = None
    """None where it was not measured."""
    seconds: Seconds

    @model_validator(mode="before")
    @classmethod
    def _without_trial(cls, values: object) -> object:
        """Version 0.1 could add short runs of neighboring recipes, which no version reads any more."""
        return {key: value for key, value in values.items() if key != "trial"} if isinstance(values, dict) else values

    @property
    def value_range(self) -> tuple[float, float] | None:
        """What `preprocessing.value_range` is for this data."""
        return None if self.health.values is None else self.health.values.range

    def view(self, name: View) -> ViewEffect | None:
        """The effect of one view, None where it was not measured."""
        return next((effect for effect in self.views if effect.view == name), None)

    def probe(self, stage: str) -> ProbeScore:
        """The probe of one stage.

        Raises:
            KeyError: no probe was fitted there.
        """
        for probe in self.probes:
            if probe.stage == stage:
                return probe
        raise KeyError(stage)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            StorageError: the file cannot be written.
        """
        folder = path.parent
        data, weights = path_for_file(self.data, folder), weights_for_file(self.weights, folder)
        Document.save(self.model_copy(update={"data": data, "weights": weights}), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile.

        Raises:
            DataError: the file is missing, damaged or of another version.
        """
        found = cls._read(
            path,
            missing=DataError(f"There is no profile at {path}.", "Run `finetune-advisor analyze` first."),
            damaged=lambda problem: DataError(
                f"{path} is not a profile this version can read: {problem}",
                "Run `finetune-advisor analyze` again to rewrite it.",
            ),
        )
        data, weights = path_beside(found.data, path.parent), weights_beside(found.weights, path.parent)
        if not Path(data).exists() and Path(found.data).exists():
            data = found.data  # of an older version, which wrote it as seen from where it was run
        return found.model_copy(update={"data": data, "weights": weights})
