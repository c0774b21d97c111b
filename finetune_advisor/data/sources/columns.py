"""Which column of a table is which: by the name a person gives, else by the names that are usual."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from finetune_advisor.data.sources.listing import SPLIT_WORDS, Split
from finetune_advisor.data.wording import listed
from finetune_advisor.errors import DataError, did_you_mean

PATHS = (
    "path",
    "filepath",
    "imagepath",
    "imgpath",
    "fullpath",
    "relativepath",
    "filename",
    "fname",
    "imagename",
    "imgname",
    "imagefile",
    "file",
    "image",
    "img",
    "images",
    "picture",
    "photo",
    "imageid",
    "imgid",
    "fileid",
    "id",
)
"""Usual names of the column with the paths, best first, without what separates their words."""
LABELS = (
    *("label", "labels", "class", "classname", "classlabel", "category", "categoryname", "target", "species"),
    *("breed", "diagnosis", "dx", "y"),
)
"""The same for the classes."""

_BELONGING = (
    *("patient", "subject", "scene", "participant", "person", "case", "study", "video", "session", "individual"),
    "specimen",
)
GROUPS = frozenset({*_BELONGING, *(f"{word}id" for word in (*_BELONGING, "group", "lesion", "slide", "animal"))})
"""Usual names of columns whose values images share that belong together."""

_ALSO = frozenset({"dataset", "part", "usage", "purpose"})
"""Names that columns of other use have too: worth no word where the values are no splits."""
_SPLITS = _ALSO | {"set", "subset", "datasplit", "splits", "splitname", "fold", "partition", "phase", "traintest"}
_SPLITS |= {"traintestsplit", "trainvaltest"}
_FLAGS: Mapping[str, tuple[Split, Split]] = {
    "isvalid": ("val", "train"),
    "isval": ("val", "train"),
    "isvalidation": ("val", "train"),
    "istest": ("test", "train"),
    "istrain": ("train", "test"),
    "istraining": ("train", "test"),
    "istrainingimage": ("train", "test"),
}
"""Columns of yes and no: the split of each."""
_YES, _NO = frozenset({"true", "1", "yes", "t", "y"}), frozenset({"false", "0", "no", "f", "n"})


def plain(name: str) -> str:
    """A column's name without case and separators: `File_Name` is `filename`."""
    return re.sub(r"[\W_]+", "", name.casefold())


def find_path(header: Sequence[str], given: str | None, table: object) -> int | None:
    """Place of the column with the paths; None where none is called so.

    Raises:
        DataError: there is no column `given`, or two.
    """
    return _find(header, given, PATHS, "--path-column", table)


def find_label(header: Sequence[str], given: str | None, table: object) -> int | None:
    """Place of the column with the labels; None where none is called so.

    Raises:
        DataError: there is no column `given`, or several may be meant.
    """
    if given is None and not {"label", "labels"} & {plain(name) for name in header}:
        fitting = [name for name in header if plain(name) in LABELS]
        if len(fitting) > 1:
            raise DataError(
                f"{table} has several columns that may hold the labels: {listed(fitting)}.",
                f"Name the one you mean: --label-column {fitting[0]} (recipe: data.label_column).",
            )
    return _find(header, given, LABELS, "--label-column", table)


def named(header: Sequence[str], given: str, table: object, use: str) -> int:
    """Place of the column that a person names, by its exact name or else in another case.

    Raises:
        DataError: there is none, or two.
    """
    places = [place for place, name in enumerate(header) if name == given]
    places = places or [place for place, name in enumerate(header) if name.casefold() == given.casefold()]
    if not places:
        raise DataError(
            f"{table} has no column {given!r} {use}{did_you_mean(given, header) or '.'}",
            f"Its columns: {', '.join(header)}.",
        )
    if len(places) > 1:
        raise DataError(f"{table} has two columns called {given!r}.", "Rename or remove one.")
    return places[0]


def is_there(header: Sequence[str], given: str) -> bool:
    """Whether `named` finds a column."""
    return given.casefold() in {name.casefold() for name in header}


def _find(header: Sequence[str], given: str | None, usual: Sequence[str], option: str, table: object) -> int | None:
    if given is not None:
        return named(header, given, table, f"as {option} says")
    names = [plain(name) for name in header]
    for word in usual:
        if names.count(word) > 1:
            twice = [name for name in header if plain(name) == word]
            raise DataError(
                f"{table} has two columns called {listed(map(repr, dict.fromkeys(twice)))}.",
                f"Rename or remove one, or name the one you mean with {option}.",
            )
        if word in names:
            return names.index(word)
    return None


def may_be_split(name: str) -> bool:
    """Whether a column is called as if it said which split an image is in, without being called `split`."""
    return plain(name) in _SPLITS or plain(name) in _FLAGS


def looks_like_split(name: str) -> bool:
    """Whether a person who calls a column so most likely means splits."""
    return may_be_split(name) and plain(name) not in _ALSO


def split_words(name: str, values: set[str]) -> dict[str, Split] | None:
    """What the values of a column that may be a split mean; None where they are no splits.

    A value that is missing from the result is unknown: some others are splits.
    """
    flag = _FLAGS.get(plain(name))
    if flag is not None:
        meant = {value: flag[0] for value in values if _yes_or_no(value) in _YES}
        meant |= {value: flag[1] for value in values if _yes_or_no(value) in _NO}
        return meant if len(meant) == len(values) and values else None
    meant = {value: SPLIT_WORDS[value.casefold()] for value in values if value.casefold() in SPLIT_WORDS}
    return meant or None


def _yes_or_no(value: str) -> str:
    return value.casefold().removesuffix(".0")
