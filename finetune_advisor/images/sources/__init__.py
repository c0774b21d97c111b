"""Where labeled images come from: `open_source` turns what a person points at into a `Listing`."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources.archive import archive_files, is_archive, list_archive, manifest_header
from finetune_advisor.images.sources.folder import list_folder
from finetune_advisor.images.sources.hub import is_saved_dataset, list_hub, list_saved
from finetune_advisor.images.sources.listing import (
    ClassFolders,
    Listing,
    Reading,
    Sample,
    Split,
    called_as,
    class_notes,
    merged,
    require_trainable,
)
from finetune_advisor.images.sources.manifest import COLUMNS, Inside, first_path, list_manifest
from finetune_advisor.images.sources.near_paths import nearest
from finetune_advisor.images.sources.scan import image_suffixes
from finetune_advisor.images.sources.table import TABLE_SUFFIXES, is_there, open_table
from finetune_advisor.storage.paths import HUB as PREFIX

if TYPE_CHECKING:
    from finetune_advisor.recipes.recipe import Data

__all__ = [
    "Listing",
    "Reading",
    "Sample",
    "Split",
    "called_as",
    "open_like",
    "open_recipe_source",
    "open_source",
    "require_trainable",
]

log = logging.getLogger(__name__)

_PACKED = {".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
_LAYOUT = (
    "Expected a folder with one folder of images per class, or with train/ and optionally val/ and test/; "
    f"a manifest ({COLUMNS}) as .csv, .tsv or .parquet; a .zip or .tar.gz of one of these; or hf:NAME."
)


def open_source(
    path: str | Path,
    *,
    group: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    merge_classes: bool = False,
    class_folders: ClassFolders | None = None,
    warn: bool = True,
) -> Listing:
    """List the labeled images that `path` names, without opening any.

    It is a folder of class folders, split or not (`list_folder`); a CSV, TSV or Parquet manifest (`list_manifest`); a
    zip or tar archive of either (`list_archive`), which is unpacked into the cache; a manifest whose paths lead into an
    archive (`photos.zip/cats/1.jpg`) or into one of the data sets that follow; a folder written by `save_to_disk`
    of Hugging Face's `datasets`, or `hf:NAME[:CONFIG]` (`list_hub`). Whoever wants to train on the images checks them
    with `require_trainable`. What was read otherwise than one may expect is logged as a warning and kept in `notes`.

    Args:
        path: what names them.
        group, path_column, label_column, merge_classes, class_folders: see `Reading`.
        warn: log the notes.

    Raises:
        DataError: there is no such thing, it cannot be used as it is, or it has no such column.
        StorageError: the cache cannot take what has to be unpacked.
    """
    reading = Reading(group, path_column, label_column, merge_classes, class_folders)
    listing = _listed(path, reading)
    if merge_classes:
        listing = merged(listing)
    listing = replace(listing, notes=(*listing.notes, *class_notes(listing)), reading=reading)
    if warn:
        for note in listing.notes:
            log.warning("%s", note)
    return listing


def open_recipe_source(data: Data, *, warn: bool = True) -> Listing:
    """List the images of a recipe as its `data` section says.

    Raises:
        DataError, StorageError: see `open_source`.
    """
    return open_source(
        data.path,
        group=data.group,
        path_column=data.path_column,
        label_column=data.label_column,
        merge_classes=data.merge_classes,
        class_folders=data.class_folders,
        warn=warn,
    )


def open_like(
    path: str | Path,
    data: Data | None,
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    class_folders: ClassFolders | None = None,
) -> Listing:
    """List other images than those of a recipe, the way the recipe reads its own where that fits.

    Args:
        path: what names them.
        data: the recipe's section; None where there is no recipe. A column it names counts where the table has it.
        path_column, label_column, class_folders: what to use whatever the recipe says.

    Raises:
        DataError, StorageError: see `open_source`.
    """
    place = Path(path)
    is_table = place.suffix.lower() in TABLE_SUFFIXES and place.is_file()
    header: tuple[str, ...] = ()
    if data is not None and is_table:
        header = open_table(place).header
    elif data is not None and place.is_file() and is_archive(place):
        columns = Reading(path_column=path_column or data.path_column, label_column=label_column or data.label_column)
        header = manifest_header(place, columns)

    def known(column: str | None) -> str | None:
        return column if column is not None and is_there(header, column) else None

    return open_source(
        path,
        group=known(data.group) if data else None,
        path_column=path_column or (known(data.path_column) if data else None),
        label_column=label_column or (known(data.label_column) if data else None),
        merge_classes=data.merge_classes if data else False,
        class_folders=class_folders or (data.class_folders if data and not is_table else None),
    )


def _listed(path: str | Path, reading: Reading) -> Listing:
    if str(path).startswith(PREFIX):
        return list_hub(str(path), reading)
    place = _existing(path)
    if place.is_dir():
        if is_saved_dataset(place):
            return list_saved(place, reading)
        _require_no_columns(place, reading)
        return list_folder(place, reading)
    if place.suffix.lower() in TABLE_SUFFIXES:
        if reading.class_folders is not None:
            raise DataError(
                f"{place} is a table, whose labels say the classes; there are no class folders to choose.",
                "Leave --class-folders (recipe: data.class_folders) out.",
            )
        return list_manifest(place, reading, inside=_inside(place, reading))
    if is_archive(place):
        return list_archive(place, reading)
    raise _unknown(place)


def _require_no_columns(place: Path, reading: Reading) -> None:
    """A folder has no columns."""
    for column, use in (
        (reading.group, "to group by"),
        (reading.path_column, "with paths"),
        (reading.label_column, "with labels"),
    ):
        if column is not None:
            raise DataError(
                f"{place} is a folder, which has no column {column!r} {use}.",
                f"Leave it out, or write a manifest: {COLUMNS}.",
            )


def _inside(manifest: Path, reading: Reading) -> Inside | None:
    """What the paths of a manifest lead into, judged by the first; None where that is a file of its own.

    Such manifests are written by `analyze` for images that have no files of their own.
    """
    path = first_path(manifest, reading)
    if path is None:
        return None
    if path.startswith(PREFIX):
        source = path.rsplit("/", 2)[0]
        return Inside(f"{source}/", source, list_hub(source).root)
    parts = path.split("/")
    for end in range(1, len(parts)):
        place = _absolute(manifest.parent / "/".join(parts[:end]))
        if is_archive(place) and place.is_file():
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
    if "://" in str(path):
        raise DataError(f"{path} is a URL.", f"Download the images first. {_LAYOUT}")
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
    known: Sequence[str] = ()
    try:
        known = [entry.name for entry in place.parent.iterdir() if entry.is_dir() or _can_open(entry)]
    except OSError:
        known = ()
    return nearest(place, list(known))


def _can_open(path: Path) -> bool:
    return path.suffix.lower() in TABLE_SUFFIXES or is_archive(path)
