"""Two tables about the findings: the images to keep without a second thought, and those that want a look."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from finetune_advisor.artifacts.facts import legible
from finetune_advisor.artifacts.health import Health
from finetune_advisor.data.manifest_text import manifest_path, manifest_text
from finetune_advisor.data.sources import Listing, Sample

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
