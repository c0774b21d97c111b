"""What images must be like to be trained on; for scoring a model none of this is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from finetune_advisor.data.sources.class_names import MERGE_OPTION, likeness
from finetune_advisor.data.sources.listing import Listing
from finetune_advisor.data.sources.scan import image_suffixes
from finetune_advisor.data.wording import counted, listed
from finetune_advisor.errors import DataError

MINIMUM = 2
"""Fewest images of a class, train and val together, that can be trained on and checked."""


def require_trainable(listing: Listing) -> None:
    """Check that a model can be trained on these images and validated.

    There are at least two classes, each with images in the train split where there are splits, and each with at least
    two in train and val together; it may be missing from val and test.

    Raises:
        DataError: the first of these that does not hold, with the classes concerned.
    """
    splits = {sample.split for sample in listing.samples}
    if splits and not splits & {None, "train"}:
        found = listed(split for split in ("val", "test") if split in splits)
        raise DataError(
            f"{listing.source} holds images for {found} but none for train.",
            "Expected images of every class in the train split: in a folder called train, or so named in the manifest.",
        )
    _require_known(listing)
    if len(listing.classes) == 1:
        raise DataError(
            f"{listing.source} holds only one class, {listing.classes[0]!r}.",
            "Expected at least two classes to tell apart: each a folder of images, or a label in the manifest.",
        )
    _require_images(listing)
    _require_enough(listing)


def _require_known(listing: Listing) -> None:
    """Nothing is validated or tested that was not trained."""
    training = {sample.label for sample in listing.samples if sample.split in (None, "train")}
    for sample in listing.samples:
        if sample.label not in training:
            name = listing.classes[sample.label]
            raise DataError(
                f"The {sample.split} split has images of a class {name!r}, the train split has none.",
                _spelling_hint(name, (listing.classes[label] for label in sorted(training))),
            )


def _spelling_hint(name: str, training: Iterable[str]) -> str:
    for known in training:
        if likeness(known) == likeness(name):
            return (
                f"{known!r} in train differs only in case, blanks, or in how accents are encoded: give both the same "
                f"name, or make them one with {MERGE_OPTION}."
            )
    return "Expected the classes of the train split everywhere: check the spelling, or leave these images out."


def _require_images(listing: Listing) -> None:
    filled = {sample.label for sample in listing.samples}
    empty = [name for label, name in enumerate(listing.classes) if label not in filled]
    if not empty:
        return
    others = [name for name in listing.ignored if not set(empty).isdisjoint(name.split("/")[:-1])]
    found = f" (only {counted(len(others), 'other file')} such as {Path(others[0]).name})" if others else ""
    raise DataError(
        f"{counted(len(empty), 'class folder')} without images: {listed(empty)}{found}.",
        f"Expected at least {MINIMUM} images in each: add some or remove the folder. "
        f"Image suffixes read here: {' '.join(sorted(suffix[1:] for suffix in image_suffixes()))}.",
    )


def _require_enough(listing: Listing) -> None:
    trainable = Counter(sample.label for sample in listing.samples if sample.split != "test")
    few = [name for label, name in enumerate(listing.classes) if trainable[label] < MINIMUM]
    if few:
        raise DataError(
            f"{counted(len(few), 'class', 'classes')} with a single image to train on: {listed(few)}.",
            f"Expected at least {MINIMUM} images per class, one to train on and one to check with: "
            "add some or remove the class.",
        )
