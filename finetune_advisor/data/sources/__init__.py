"""Where labeled images come from: `open_source` turns what a person points at into a `Listing`."""

from __future__ import annotations

import os
from pathlib import Path

from finetune_advisor.data.sources.folder import list_folder
from finetune_advisor.data.sources.listing import Listing, Sample, Split
from finetune_advisor.data.sources.trainable import require_trainable
from finetune_advisor.errors import DataError, did_you_mean

__all__ = ["Listing", "Sample", "Split", "open_source", "require_trainable"]

_LAYOUT = "Expected a folder with one folder of images per class, or with train/ and optionally val/ and test/."


def open_source(path: str | Path) -> Listing:
    """List the labeled images that `path` names: a folder of class folders, split or not.

    No image is opened. The rules of a folder are those of `list_folder`; whoever wants to train on the images
    checks them with `require_trainable`.

    Raises:
        DataError: the path does not exist, is not a folder, or the folder cannot be used as it is.
    """
    place = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 (resolve() would follow links)
    try:
        if place.is_dir():
            return list_folder(place)
        exists = place.exists()
    except PermissionError as error:
        raise DataError(f"No permission to look into {place.parent}.", f"Try: chmod u+rx '{place.parent}'") from error
    if exists:
        raise _not_a_folder(place)
    if str(path).startswith("hf:"):
        raise DataError(f"{path} names a data set on the Hugging Face hub; those are not supported yet.", _LAYOUT)
    raise DataError(f"There is no folder {place}{_nearest(place) or '.'}", _LAYOUT)


def _not_a_folder(place: Path) -> DataError:
    suffix = place.suffix.lower()
    if suffix in {".csv", ".tsv", ".parquet"}:
        return DataError(f"{place} is a table; tables are not supported yet, folders are.", _LAYOUT)
    if suffix in {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}:
        message = f"{place} is an archive; archives are not supported yet, folders are."
        return DataError(message, f"Unpack it first. {_LAYOUT}")
    return DataError(f"{place} is a file.", _LAYOUT)


def _nearest(place: Path) -> str:
    """The folder beside it whose name comes closest, for the sake of typing errors."""
    try:
        folders = [entry.name for entry in place.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    return did_you_mean(place.name, folders)
