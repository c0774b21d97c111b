"""Which column of a Hugging Face data set holds the images, which the labels, which the groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from finetune_advisor.data.wording import listed
from finetune_advisor.errors import DataError, did_you_mean

_LABELS = ("label", "labels", "class")
"""What label columns are called, where the type of several, or of none, says so."""


class Columns(NamedTuple):
    """Names of the columns that count; `classes` are the class names where labels are stored as numbers."""

    image: str
    label: str
    group: str | None
    classes: tuple[str, ...] | None


def find_columns(source: str, features: Mapping[str, Any], group: str | None) -> Columns:
    """Choose the columns of a data set by the types of its features.

    Args:
        source: named in messages.
        features: name -> feature, as `datasets` has them.
        group: the column to group by; None takes `group` where there is one.

    Raises:
        DataError: no column fits, or several do.
    """
    image = _only(
        source, "images", [name for name, kind in features.items() if _is(kind, "Image")], ("image",), features
    )
    typed = [name for name, kind in features.items() if _is(kind, "ClassLabel")]
    plain = [name for name, kind in features.items() if name.lower() in _LABELS and _is(kind, "Value")]
    label = _only(source, "labels", typed or plain, _LABELS, features)
    if group is not None and group not in features:
        raise DataError(
            f"{source} has no column {group!r} to group by{did_you_mean(group, features) or '.'}", _shown(features)
        )
    column = group or ("group" if "group" in features else None)
    if column is not None and not (_is(features[column], "Value") or _is(features[column], "ClassLabel")):
        raise DataError(f"The column {column!r} of {source} holds no single values to group by.", _shown(features))
    classes = tuple(features[label].names) if typed else None
    return Columns(image, label, column, classes)


def _only(source: str, what: str, fitting: list[str], usual: Iterable[str], features: Mapping[str, Any]) -> str:
    if len(fitting) > 1:
        called = [name for word in usual for name in fitting if name.lower() == word]
        if not called:
            raise DataError(
                f"{source} has several columns that may hold the {what}: {listed(fitting)}.",
                f"Expected one, or one called {' or '.join(usual)}: rename or remove columns with `datasets`.",
            )
        return called[0]
    if not fitting:
        expected = "of type Image" if what == "images" else f"of type ClassLabel, or one called {' or '.join(usual)}"
        raise DataError(f"{source} has no column with {what}; expected one {expected}.", _shown(features))
    return fitting[0]


def _is(feature: Any, kind: str) -> bool:
    return type(feature).__name__ == kind


def _shown(features: Mapping[str, Any]) -> str:
    return "Its columns: " + ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items()) + "."
