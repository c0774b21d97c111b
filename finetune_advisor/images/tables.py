"""Tables that `analyze` writes about the images: what to keep, what wants a look, which groups there are."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from finetune_advisor.images.sources import Listing, Sample
from finetune_advisor.records.facts import legible
from finetune_advisor.records.health import Health
from finetune_advisor.storage.paths import HUB as PREFIX

log = logging.getLogger(__name__)


def manifest_text(
    samples: Iterable[Sample], classes: Sequence[str], *, relative_to: Path | None, packed: str | None = None
) -> str:
    """CSV text `path,label,split[,group]`, a row for each sample whose name can be written as text.

    Args:
        samples: in the order of the rows.
        classes: that the labels point into.
        relative_to: the folder the manifest will lie in; paths are relative to it where a relative path exists. None
            writes absolute paths.
        packed: what the images were unpacked from (`Listing.packed`), which the paths then lead into.
    """
    written = [sample for sample in samples if _writable(sample)]
    grouped = any(sample.group is not None for sample in written)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split", *(["group"] if grouped else [])])
    for sample in written:
        row = [manifest_path(sample, relative_to=relative_to, packed=packed), classes[sample.label], sample.split or ""]
        writer.writerow([*row, *([sample.group or ""] if grouped else [])])
    return text.getvalue()


def _writable(sample: Sample) -> bool:
    """Whether the path can be written as text."""
    try:
        str(sample.path).encode("utf-8")
    except UnicodeEncodeError:
        log.warning("left out of the manifest, its name is not Unicode: %s", legible(sample.name))
        return False
    return True


def manifest_path(sample: Sample, *, relative_to: Path | None, packed: str | None = None) -> str:
    """How a table names an image, so that it is found again: with forward slashes, relative where that can be.

    An image that has no file of its own is named by what it lies in and its name there: `../photos.zip/cats/1.jpg`. Its
    file in the cache would tell nobody anything, and is gone when the cache is.

    Args:
        sample: the image.
        relative_to: the folder the table will lie in; None writes an absolute path.
        packed: see `Listing.packed`.
    """
    if packed is None or Path(sample.name).is_absolute():
        return _shown(sample.path, relative_to)
    source = packed if packed.startswith(PREFIX) else _shown(Path(packed), relative_to)
    return f"{source}/{sample.name}"


def _shown(path: Path, relative_to: Path | None) -> str:
    if relative_to is None:
        return path.as_posix()
    try:
        return Path(os.path.relpath(path, relative_to)).as_posix()
    except ValueError:  # another drive: there is no relative path
        return str(path)


REVIEW_COLUMNS = ("path", "label", "suggestion", "reason", "distance")


def clean_manifest(listing: Listing, health: Health, *, relative_to: Path) -> str:
    """CSV text `path,label,split[,group]` of the images to keep, in the listing's order.

    Left out is only what no training can miss: unreadable files, and byte-identical copies beyond the first. The test
    split stays as it is, but for unreadable files: a copy of a test image leaves training and validation instead, and
    one of a validation image leaves training. Of copies with different labels one of each label stays, for which label
    is wrong is for a person to say; `review_table` names them.

    Args:
        listing: as the person gave it, that is with the person's own splits only.
        health: what was found in it.
        relative_to: the folder the manifest will lie in; paths are relative to it where a relative path exists.
    """
    by_name = _by_name(listing)
    dropped = {bad.path for bad in health.bad_files}
    for group in health.exact_duplicates:
        dropped |= _surplus([name for name in group if name in by_name], by_name)
    kept = [sample for name, sample in by_name.items() if name not in dropped]
    return manifest_text(kept, listing.classes, relative_to=relative_to, packed=listing.packed)


def review_table(listing: Listing, health: Health, *, relative_to: Path) -> str:
    """CSV text `path,label,suggestion,reason,distance` of what wants a look, a row for each image and reason.

    First come copies with different labels, then labels that may be wrong, blank images, images far from all others,
    and images of unusual size, shape or color mode. The distance says how far off an image is: for a label, by how much
    the suggestion is more probable (0 to 1); for a copy, 1 minus the correlation; for an image far from all others, how
    many times as far as usual.

    Args:
        listing, health, relative_to: see `clean_manifest`.
    """
    by_name = _by_name(listing)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(REVIEW_COLUMNS)
    for name, suggestion, reason, distance in _to_review(listing, health, by_name):
        if sample := by_name.get(name):
            path = legible(manifest_path(sample, relative_to=relative_to, packed=listing.packed))
            label = legible(listing.classes[sample.label])
            writer.writerow([path, label, suggestion, reason, "" if distance is None else f"{distance:.3g}"])
    return text.getvalue()


def _by_name(listing: Listing) -> dict[str, Sample]:
    return {legible(sample.name): sample for sample in listing.samples}


def _surplus(members: Sequence[str], by_name: Mapping[str, Sample]) -> set[str]:
    """Those copies of one file that are to be left out."""
    trainable = [name for name in members if by_name[name].split != "test"]
    if len(trainable) < len(members):
        return set(trainable)
    # A validation copy stays before one of training.
    stays: dict[int, str] = {}
    for name in sorted(trainable, key=lambda name: by_name[name].split != "val"):
        stays.setdefault(by_name[name].label, name)
    return set(trainable) - set(stays.values())


def _to_review(
    listing: Listing, health: Health, by_name: Mapping[str, Sample]
) -> Iterator[tuple[str, str, str, float | None]]:
    """Name, suggested label or nothing, reason, distance."""
    correlation = {name: group.correlation for group in health.near_duplicates for name in group.images}
    label_of = {name: legible(listing.classes[sample.label]) for name, sample in by_name.items()}
    for group in health.duplicates_across_classes:
        for name in group:
            others = [each for each in group if each in label_of and label_of[each] != label_of.get(name)]
            labels = sorted({label_of[each] for each in others})
            if labels:
                same = "perhaps the same picture as" if name in correlation else "the same file as"
                reason = f"{same} {others[0]}, which is labeled {label_of[others[0]]}: a label may be wrong"
                suggestion = labels[0] if len(labels) == 1 else ""
                yield name, suggestion, reason, 1 - correlation.get(name, 1.0)
    for suspect in health.label_suspects:
        reason = (
            f"the label may be wrong: classifiers give {suspect.suggestion} {suspect.suggestion_probability:.2f}, "
            f"{suspect.label} {suspect.label_probability:.2f}"
        )
        yield suspect.path, suspect.suggestion, reason, suspect.suggestion_probability - suspect.label_probability
    for blank in health.blank_images:
        yield blank.path, "", f"blank: {blank.reason}", None
    for outlier in health.outliers:
        yield outlier.path, "", "far from all other images", outlier.distance
    for odd in health.odd_images:
        yield odd.path, "", odd.reason, None
