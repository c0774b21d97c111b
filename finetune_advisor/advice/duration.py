"""How long a recipe will run on the machine that analyzed the images."""

from __future__ import annotations

from collections import Counter

from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.artifacts.recipe import Budget, Recipe
from finetune_advisor.artifacts.speed import Speed
from finetune_advisor.data.plan import BatchPlan
from finetune_advisor.data.workers import workers_of
from finetune_advisor.techniques.strategy import FineTuning

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
