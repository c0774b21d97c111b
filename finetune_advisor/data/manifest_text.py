"""Samples written as a manifest that `open_source` reads."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from finetune_advisor.artifacts.facts import legible
from finetune_advisor.artifacts.paths import HUB as PREFIX
from finetune_advisor.data.sources import Sample

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
