"""Where labeled images come from: `open_source` turns what a person points at into a `Listing`."""

from __future__ import annotations

import os
from pathlib import Path

from finetune_advisor.data.sources.archive import (
    ARCHIVE_SUFFIXES,
    archive_files,
    archive_root,
    is_archive,
    list_archive,
)
from finetune_advisor.data.sources.folder import list_folder
from finetune_advisor.data.sources.hub import PREFIX, is_saved_dataset, list_hub, list_saved
from finetune_advisor.data.sources.listing import Listing, Sample, Split
from finetune_advisor.data.sources.manifest import COLUMNS, Inside, first_path, list_manifest
from finetune_advisor.data.sources.scan import image_suffixes
from finetune_advisor.data.sources.table import TABLE_SUFFIXES
from finetune_advisor.data.sources.trainable import require_trainable
from finetune_advisor.errors import DataError, did_you_mean

__all__ = ["Listing", "Sample", "Split", "open_source", "require_trainable", "source_root"]

_PACKED = {".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
_LAYOUT = (
    "Expected a folder with one folder of images per class, or with train/ and optionally val/ and test/; "
    f"a manifest ({COLUMNS}) as .csv, .tsv or .parquet; a .zip or .tar.gz of one of these; or hf:NAME."
)


def open_source(path: str | Path, *, group: str | None = None) -> Listing:
    """List the labeled images that `path` names, without opening any.

    It is a folder of class folders, split or not (`list_folder`); a CSV, TSV or Parquet manifest (`list_manifest`); a
    zip or tar archive of either (`list_archive`), which is unpacked into the cache; a manifest whose paths lead into an
    archive (`photos.zip/cats/1.jpg`) or into one of the data sets that follow; a folder written by `save_to_disk`
    of Hugging Face's `datasets`, or `hf:NAME[:CONFIG]` (`list_hub`). Whoever wants to train on the images checks them
    with `require_trainable`.

    Args:
        path: what names them.
        group: column that says which images belong together; None takes the column `group` where there is one.

    Raises:
        DataError: there is no such thing, it cannot be used as it is, or it has no such column.
        StorageError: the cache cannot take what has to be unpacked.
    """
    if str(path).startswith(PREFIX):
        return list_hub(str(path), group=group)
    place = _existing(path)
    if place.is_dir():
        if is_saved_dataset(place):
            return list_saved(place, group=group)
        if group is not None:
            raise DataError(
                f"{place} is a folder, which has no column {group!r} to group by.",
                f"Leave the group out, or write a manifest: {COLUMNS}.",
            )
        return list_folder(place)
    if place.suffix.lower() in TABLE_SUFFIXES:
        return list_manifest(place, group=group, inside=_inside(place))
    if is_archive(place):
        return list_archive(place, group=group)
    raise _unknown(place)


def source_root(source: str | Path) -> Path:
    """The folder that the names of a source's images are relative to.

    A folder is not read for it and may be gone; so may a manifest, unless its images are in an archive.

    Raises:
        DataError, StorageError: see `open_source`.
    """
    if str(source).startswith(PREFIX):
        return list_hub(str(source)).root
    place = _absolute(source)
    if not place.is_dir() and is_archive(place):
        return archive_root(place)
    if not place.is_dir() and place.suffix.lower() in TABLE_SUFFIXES:
        inside = _inside(place) if place.is_file() else None
        return inside.root if inside else place.parent
    return list_saved(place).root if is_saved_dataset(place) else place


def _inside(manifest: Path) -> Inside | None:
    """What the paths of a manifest lead into, judged by the first; None where that is a file of its own.

    Such manifests are written by `analyze` for images that have no files of their own.
    """
    path = first_path(manifest)
    if path is None:
        return None
    if path.startswith(PREFIX):
        source = path.rsplit("/", 2)[0]
        return Inside(f"{source}/", source, list_hub(source).root)
    parts = path.split("/")
    for end, part in enumerate(parts[:-1], start=1):
        place = _absolute(manifest.parent / "/".join(parts[:end]))
        if part.lower().endswith(ARCHIVE_SUFFIXES) and place.is_file():
            return Inside("/".join(parts[:end]) + "/", str(place), archive_files(place))
    folder = _absolute(manifest.parent / path).parent.parent
    if len(parts) > 2 and is_saved_dataset(folder):
        return Inside("/".join(parts[:-2]) + "/", str(folder), list_saved(folder).root)
    return None


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 (resolve() would follow links)


def _existing(path: str | Path) -> Path:
    """The absolute path of what is there."""
    place = _absolute(path)
    try:
        exists = place.exists()
    except PermissionError as error:
        raise DataError(f"No permission to look into {place.parent}.", f"Try: chmod u+rx '{place.parent}'") from error
    if not exists:
        kind = "file" if place.suffix.lower() in TABLE_SUFFIXES or is_archive(place) else "folder"
        raise DataError(f"There is no {kind} {place}{_nearest(place) or '.'}", _LAYOUT)
    return place


def _unknown(place: Path) -> DataError:
    if place.suffix.lower() in _PACKED:
        return DataError(f"{place} is packed in a way that is not read here.", f"Unpack it first. {_LAYOUT}")
    if place.suffix.lower() in {".xlsx", ".xls", ".ods"}:
        return DataError(f"{place} is a spreadsheet.", f"Save it as CSV UTF-8. {_LAYOUT}")
    if place.suffix.lower() in image_suffixes():
        return DataError(f"{place} is a single image.", _LAYOUT)
    return DataError(f"{place} is a file of an unknown kind.", _LAYOUT)


def _nearest(place: Path) -> str:
    """What lies beside it whose name comes closest, for the sake of typing errors."""
    try:
        known = [entry.name for entry in place.parent.iterdir() if entry.is_dir() or _can_open(entry)]
    except OSError:
        return ""
    return did_you_mean(place.name, known)


def _can_open(path: Path) -> bool:
    return path.suffix.lower() in TABLE_SUFFIXES or is_archive(path)
