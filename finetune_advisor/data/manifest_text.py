"""Samples written as a manifest that `list_manifest` reads."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from finetune_advisor.artifacts.facts import legible
from finetune_advisor.data.sources import Sample

log = logging.getLogger(__name__)


def manifest_text(samples: Iterable[Sample], classes: Sequence[str], *, relative_to: Path | None) -> str:
    """CSV text `path,label,split[,group]`, a row for each sample whose name can be written as text.

    Args:
        samples: in the order of the rows.
        classes: that the labels point into.
        relative_to: the folder the manifest will lie in; paths are relative to it where a relative path exists. None
            writes absolute paths.
    """
    written = [sample for sample in samples if _writable(sample)]
    grouped = any(sample.group is not None for sample in written)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split", *(["group"] if grouped else [])])
    for sample in written:
        row = [_shown(sample.path, relative_to), classes[sample.label], sample.split or ""]
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


def _shown(path: Path, relative_to: Path | None) -> str:
    if relative_to is None:
        return path.as_posix()
    try:
        return Path(os.path.relpath(path, relative_to)).as_posix()
    except ValueError:  # another drive: there is no relative path
        return str(path)
