"""Which column of a Hugging Face data set holds the images, which the labels, which the groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from finetune_advisor.data.sources.columns import LABELS, plain
from finetune_advisor.data.sources.listing import Reading
from finetune_advisor.data.wording import listed
from finetune_advisor.errors import DataError, did_you_mean


class Columns(NamedTuple):
    """Names of the columns that count; `classes` are the class names where labels are stored as numbers."""

    image: str
    label: str
    group: str | None
    classes: tuple[str, ...] | None


def find_columns(source: str, features: Mapping[str, Any], reading: Reading) -> Columns:
    """Choose the columns of a data set by the types of its features.

    Args:
        source: named in messages.
        features: name -> feature, as `datasets` has them.
        reading: names columns; see `Reading`.

    Raises:
        DataError: no column fits, or several do.
    """
    for name, use in (
        (reading.path_column, "with images"),
        (reading.label_column, "with labels"),
        (reading.group, "to group by"),
    ):
        if name is not None and name not in features:
            raise DataError(
                f"{source} has no column {name!r} {use}{did_you_mean(name, features) or '.'}", _shown(features)
            )
    group = reading.group
    image = reading.path_column or _only(
        source, "images", [name for name, kind in features.items() if _is(kind, "Image")], ("image",), features
    )
    typed = [name for name, kind in features.items() if _is(kind, "ClassLabel")]
    called = [name for name, kind in features.items() if plain(name) in LABELS and _is(kind, "Value")]
    label = reading.label_column or _only(source, "labels", typed or called, LABELS, features)
    column = group or ("group" if "group" in features else None)
    if column is not None and not (_is(features[column], "Value") or _is(features[column], "ClassLabel")):
        raise DataError(f"The column {column!r} of {source} holds no single values to group by.", _shown(features))
    if not _is(features[image], "Image"):
        raise DataError(f"The column {image!r} of {source} holds no images.", _shown(features))
    if not (_is(features[label], "Value") or _is(features[label], "ClassLabel")):
        raise DataError(f"The column {label!r} of {source} holds no single labels.", _shown(features))
    classes = tuple(features[label].names) if _is(features[label], "ClassLabel") else None
    return Columns(image, label, column, classes)


def _only(source: str, what: str, fitting: list[str], usual: Iterable[str], features: Mapping[str, Any]) -> str:
    if len(fitting) > 1:
        called = [name for word in usual for name in fitting if plain(name) == word]
        if not called:
            raise DataError(
                f"{source} has several columns that may hold the {what}: {listed(fitting)}.",
                f"Name the one you mean: {'--path-column' if what == 'images' else '--label-column'} {fitting[0]}.",
            )
        return called[0]
    if not fitting:
        expected = (
            "of type Image" if what == "images" else f"of type ClassLabel, or one called {' or '.join([*usual][:3])}"
        )
        raise DataError(f"{source} has no column with {what}; expected one {expected}.", _shown(features))
    return fitting[0]


def _is(feature: Any, kind: str) -> bool:
    return type(feature).__name__ == kind


def _shown(features: Mapping[str, Any]) -> str:
    return "Its columns: " + ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items()) + "."
