"""The verb: Profile -> Recipe, every line that the data decided with its reason, and how long it will run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.advice.rules import KEEP, choices
from finetune_advisor.advice.sentences import expected_accuracy, majority_sentence
from finetune_advisor.advice.table import leak_warning, placed, predict
from finetune_advisor.loading.order import BatchPlan
from finetune_advisor.processes import workers_of
from finetune_advisor.recipes.load import change_recipe, dump_recipe, load_recipe, recipe_for_file
from finetune_advisor.recipes.recipe import Budget, Recipe
from finetune_advisor.records.facts import Speed
from finetune_advisor.records.profile import Cell, Predicted, Profile
from finetune_advisor.techniques.strategy import FewLayers, FineTuning, LinearProbe, ManyLayers, StageProbe


@dataclass(frozen=True)
class Advice:
    """A recipe for measured data, and the reason for every line that the data decided."""

    recipe: Recipe
    reasons: dict[str, str]
    expected: Predicted
    """Accuracy of this recipe on unseen images, as far as the probes can tell."""
    header: str

    @property
    def cell(self) -> Cell:
        """The place in the table whose recipe this is: the one measured, or the one a person asked for."""
        strategy = self.recipe.strategy
        assert isinstance(strategy, LinearProbe | StageProbe | FewLayers | ManyLayers), strategy.kind
        return strategy.kind

    def yaml(self, folder: Path | None = None) -> str:
        """The recipe as it is written to a file in `folder`, where its paths start; None: where one stands."""
        recipe = self.recipe if folder is None else recipe_for_file(self.recipe, folder)
        return dump_recipe(recipe, reasons=self.reasons, header=self.header)


def advise(profile: Profile, *, strategy: Cell | None = None) -> Advice:
    """Choose the recipe of the profile's cell and adjust it to the data.

    Args:
        profile: from `analyze`; placed in the table here if it is not yet.
        strategy: a cell to use instead of the one the table points to.
    """
    known = placed(profile)
    assert known.cell is not None, "just placed"
    cell = strategy or known.cell
    chosen = choices(known, cell)
    values = {choice.key: choice.value for choice in chosen if choice.value is not KEEP}
    recipe = change_recipe(load_recipe(cell), values)
    expected = predict(known, cell)
    reasons = {choice.key: str(choice.reason) for choice in chosen if choice.reason is not None}
    return Advice(recipe, reasons, expected, _header(known, cell, expected))


def _header(profile: Profile, cell: Cell, expected: Predicted) -> str:
    majority = majority_sentence(expected)
    lines = [
        f"A {cell} recipe for {Path(profile.data).resolve().name}, written by `finetune-advisor analyze`.",
        "Comments above a line say which figures decided; ± is one standard error. Change what you know better, then:",
        "    finetune-advisor run THIS_FILE",
        "",
        f"Expected accuracy on unseen images: {expected_accuracy(expected)}{f'; {majority}' if majority else ''}.",
        f"It comes from {expected.basis}.",
    ]
    if leak_warning(profile):
        lines.insert(-2, "The folds that this rests on may be too kind: one object or scene may lie on both sides.")
    return "\n".join(lines)


AROUND = 8.0
"""Seconds to start, read the files, build the network, write the results and draw them, on two cores."""

FITS = 2
"""Fits of one place that the run of a probe takes, in those of the analysis: the search again and the final fit."""


def expected_seconds(profile: Profile, recipe: Recipe, *, device: str = "auto") -> float | None:
    """Seconds of the whole command for images that are in the cache, if the machine was timed on that device."""
    if not isinstance(recipe.strategy, FineTuning):
        return AROUND + FITS * profile.seconds.probes / len(profile.probes) + _not_looked_at(profile)
    speed = profile.speed
    if speed is None or device not in ("auto", speed.device):
        return None
    images = Counter({split: count.images for split, count in profile.splits.items()})
    seconds = AROUND + _training(speed, recipe, images) + images["test"] * _looking(speed, recipe)
    if recipe.evaluation.refit:
        seconds += _training(speed, recipe, Counter(train=images["train"] + images["val"]))
    return seconds


def _looking(speed: Speed, recipe: Recipe) -> float:
    """Seconds to decode an image and run the network on it."""
    return _each(sum(speed.forward.values()), speed, recipe)


def _training(speed: Speed, recipe: Recipe, images: Counter[str]) -> float:
    """Seconds from the first step to the last evaluation, and the final scores of the validation images."""
    assert isinstance(recipe.strategy, FineTuning) and recipe.budget and recipe.optimizer, "checked by Recipe"
    epochs = _epochs(recipe.budget, images["train"], recipe.optimizer.batch)
    forward = sum(speed.forward.values())
    trained = sum(speed.forward[stage] for stage in recipe.strategy.trainable(tuple(speed.forward)))
    looked_at = _looking(speed, recipe)
    if recipe.strategy.cached_views is None or trained == forward:
        each = _each(forward + speed.backward * trained, speed, recipe)
        return epochs * images["train"] * each + (epochs + 1) * images["val"] * looked_at
    # What is frozen runs once for each view; every epoch then trains what lies above, and decodes nothing.
    views = min(recipe.strategy.cached_views, epochs) if recipe.augmentation else 1
    once = views * images["train"] + images["val"]
    training = epochs * (images["train"] * (1 + speed.backward) + images["val"]) * trained
    return once * looked_at + training


def _epochs(budget: Budget, images: int, batch: int) -> float:
    if budget.epochs is not None:
        return budget.epochs
    if budget.images is not None:
        return budget.images / images
    assert budget.steps is not None, "checked by Budget"
    return budget.steps / BatchPlan(images, batch, 0).steps_per_epoch


def _each(network: float, speed: Speed, recipe: Recipe) -> float:
    """Seconds an image: on a CPU the network and the decoding processes share the cores, beside a GPU they do not."""
    workers = workers_of(recipe.runtime.workers)
    decoding = speed.decoding / max(1, workers)
    if speed.device == "cpu" or workers == 0:
        return network + decoding
    return max(network, decoding)


def _not_looked_at(profile: Profile) -> float:
    """Seconds for the images that were left out of a sample, as long each as those in it took."""
    sampled = profile.sampled
    return 0.0 if sampled is None else profile.seconds.images / sampled.images * (sampled.of - sampled.images)
