"""Which feed a run gets: the cached boundary where the recipe asks for it and it fits, else pixels."""

from __future__ import annotations

import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor import processes
from finetune_advisor.errors import StorageError
from finetune_advisor.techniques.strategy import FineTuning
from finetune_advisor.training.boundary import NoBoundary, plan_boundary
from finetune_advisor.training.boundary_feed import FromBoundary, key_of
from finetune_advisor.training.decoded_once import decoded_once, in_words
from finetune_advisor.training.feed import Feed, Pixels
from finetune_advisor.training.frozen_part import FrozenPart
from finetune_advisor.training.loop import Method
from finetune_advisor.training.prepare import Prepared
from finetune_advisor.training.watch import Watcher

log = logging.getLogger(__name__)

KEPT = ("train", "val")
"""Splits that are looked at in every epoch; test images are looked at once."""


@dataclass(frozen=True)
class ChosenFeed:
    """A feed, and what a person is told about what it keeps."""

    feed: Feed
    cached: str


def choose_feed(
    pixels: Pixels, prepared: Prepared, method: Method, *, folder: Path | None, watcher: Watcher
) -> ChosenFeed:
    """Decide, and compute the frozen part's output where it is kept; every fallback is logged with its reason.

    Args:
        pixels: the feed that always works.
        folder: for what is kept; None computes nothing ahead, which is enough for a plan.

    Raises:
        DataError: an image cannot be read any more.
    """
    strategy = prepared.recipe.strategy
    assert isinstance(strategy, FineTuning)
    feed = _feed_or_reason(pixels, prepared, method, folder or Path.cwd())
    if isinstance(feed, FromBoundary) and folder is not None:
        feed = feed.accelerated()
    if isinstance(feed, FromBoundary) and folder is not None and processes.is_main():
        try:
            feed = feed.kept_in(folder, key=_key(prepared), progress=watcher.on_cached)
        except StorageError as problem:
            feed = problem.message
    # One disk decides for all processes, and the others find there what the main one has written.
    reason = processes.from_main(None if isinstance(feed, FromBoundary) else feed)
    if reason is not None or isinstance(feed, str):
        reason = str(reason or feed)
        if strategy.cached_views is not None:
            log.warning("the frozen part is not cached, every epoch runs the whole network: %s", reason)
        pixels, kept = _whole_network(pixels, prepared, method, folder=folder, watcher=watcher)
        return ChosenFeed(pixels, f"nothing ({reason}): {kept}; every epoch runs the whole network")
    if folder is not None and not processes.is_main():
        feed = feed.kept_in(folder, key=_key(prepared), progress=watcher.on_cached)
    if folder is not None:
        log.info("cached: %s", feed.boundary)
    return ChosenFeed(feed, str(feed.boundary))


def _feed_or_reason(pixels: Pixels, prepared: Prepared, method: Method, folder: Path) -> FromBoundary | str:
    """The cut network, with nothing kept yet, or why it is not cut."""
    recipe, strategy = prepared.recipe, prepared.recipe.strategy
    assert isinstance(strategy, FineTuning)
    try:
        boundary = plan_boundary(
            prepared.backbone,
            strategy,
            images={split: images for split in KEPT if (images := len(pixels.samples[split]))},
            # A budget in minutes has no steps yet: they are timed on the feed that is chosen here.
            epochs=math.ceil(method.steps / method.steps_per_epoch) or sys.maxsize,
            augmented=pixels.augment is not None,
            most_mib=recipe.runtime.cache_mib or 0,
            folder=folder,
        )
    except NoBoundary as reason:
        return str(reason)
    frozen = FrozenPart(prepared.backbone, boundary.stage, pixels.preprocess, method.precision)
    return FromBoundary(boundary, frozen, pixels, {})


def _whole_network(
    pixels: Pixels, prepared: Prepared, method: Method, *, folder: Path | None, watcher: Watcher
) -> tuple[Pixels, str]:
    """The plain feed, its images decoded once where there is room and more than one epoch, and that in words."""
    most_mib = prepared.recipe.runtime.cache_mib
    if most_mib is None or method.steps_per_epoch >= method.steps > 0:
        return pixels, in_words(pixels)
    if folder is None:
        return pixels, f"images are decoded once, as far as {most_mib:,} MiB go"
    pixels = decoded_once(pixels, folder, key=_key(prepared), most_mib=most_mib, progress=watcher.on_cached)
    log.info("decoded once: %s", in_words(pixels))
    return pixels, in_words(pixels)


def _key(prepared: Prepared) -> str:
    data = prepared.data
    return key_of({split: [data.digests[place] for place in data.index(split)] for split in KEPT})
