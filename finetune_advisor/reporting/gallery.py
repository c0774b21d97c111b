"""Pictures on a page: a few of each finding, and contact sheets."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from finetune_advisor.errors import FinetuneAdvisorError
from finetune_advisor.images.decode import read_image
from finetune_advisor.images.sources import Listing
from finetune_advisor.records.facts import legible
from finetune_advisor.records.health import Health
from finetune_advisor.reporting.sentences import percent
from finetune_advisor.storage.files import atomic_path
from finetune_advisor.techniques.preprocessing import ValueRange
from finetune_advisor.text import shown

log = logging.getLogger(__name__)

MOST_GROUPS = 12
"""Groups of copies on the page."""

MOST_IN_GROUP = 4
"""Pictures of one group: two show that they are alike, more are soon tiring."""

MOST_PICTURES = 12
"""Single pictures of one kind."""

OF_EACH_CLASS = 5
"""Images that stand for a class: one may be odd, five show what the class is."""

MOST_CLASSES = 20
"""Classes that are shown so: more do not fit on a screen."""

MOST_ROWS = 50
"""Rows of a table of files."""

NAME = 120
"""Columns of a name in a caption, which wraps."""

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image with what is said about it."""

    key: str
    """The name as the profile has it, by which its thumbnail is found."""
    name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copies:
    """Images that show the same picture."""

    pictures: tuple[Picture, ...]
    more: int
    kind: str
    crossing: tuple[str, ...]
    """Borders that the group lies across: `splits`, `classes`."""


@dataclass(frozen=True, slots=True)
class Gallery:
    leak: tuple[Picture, ...]
    """Two copies in two splits, none where there are no such."""
    copies: tuple[Copies, ...]
    more_copies: int
    suspects: tuple[Picture, ...]
    more_suspects: int
    outliers: tuple[Picture, ...]
    more_outliers: int
    odd: tuple[Picture, ...]
    more_odd: int
    blank: tuple[Picture, ...]
    more_blank: int
    unreadable: tuple[tuple[str, str], ...]
    more_unreadable: int

    def keys(self) -> Iterator[str]:
        """Names of all images that are shown."""
        yield from (picture.key for picture in self.leak)
        for group in self.copies:
            yield from (picture.key for picture in group.pictures)
        for picture in (*self.suspects, *self.outliers, *self.odd, *self.blank):
            yield picture.key


@dataclass(frozen=True, slots=True)
class ClassStrip:
    """A few images of a class, side by side."""

    name: str
    images: int
    """Images of the class, readable ones."""
    pictures: tuple[Picture, ...]


def class_strips(listing: Listing, *, bad_files: Iterable[str] = ()) -> tuple[ClassStrip, ...]:
    """Five images of each class, spread over its names; of more than 20 classes a sample spread over their names.

    Training images are shown where a class has some.

    Args:
        listing: all images.
        bad_files: names of those that cannot be read, as the profile has them.
    """
    unreadable = set(bad_files)
    all_names: list[list[str]] = [[] for _ in listing.classes]
    trainable: list[list[str]] = [[] for _ in listing.classes]
    for sample in listing.samples:
        name = legible(sample.name)
        if name not in unreadable:
            all_names[sample.label].append(name)
            if sample.split != "test":
                trainable[sample.label].append(name)
    return tuple(
        ClassStrip(
            shown(legible(listing.classes[label]), NAME),
            len(all_names[label]),
            tuple(
                Picture(names[place], f"{shown(legible(listing.classes[label]), 40)}: {shown(names[place], NAME)}")
                for names in [trainable[label] or all_names[label]]
                for place in _spread(len(names), OF_EACH_CLASS)
            ),
        )
        for label in _spread(len(listing.classes), MOST_CLASSES)
    )


def _spread(count: int, most: int) -> list[int]:
    """Places at equal distances from the first to the last, all of them where there are no more than `most`."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())] if count else []


def gallery(health: Health) -> Gallery:
    """The most harmful of each kind."""
    groups = _groups(health)
    suspects, more_suspects = _first(health.label_suspects, MOST_PICTURES)
    outliers, more_outliers = _first(health.outliers, MOST_PICTURES)
    odd, more_odd = _first(health.odd_images, MOST_PICTURES)
    blank, more_blank = _first(health.blank_images, MOST_PICTURES)
    bad, more_bad = _first(health.bad_files, MOST_ROWS)
    leak = health.split_leak
    return Gallery(
        leak=tuple(map(_picture, leak.example, leak.splits)) if leak is not None else (),
        copies=tuple(groups[:MOST_GROUPS]),
        more_copies=max(len(groups) - MOST_GROUPS, 0),
        suspects=tuple(
            _picture(
                one.path,
                f"labeled {shown(one.label, 30)} ({percent(one.label_probability)})",
                f"perhaps {shown(one.suggestion, 30)} ({percent(one.suggestion_probability)})",
            )
            for one in suspects
        ),
        more_suspects=more_suspects,
        outliers=tuple(
            _picture(one.path, f"labeled {shown(one.label, 30)}", f"{one.distance:.1f} times as far as usual")
            for one in outliers
        ),
        more_outliers=more_outliers,
        odd=tuple(_picture(one.path, shown(one.reason, NAME)) for one in odd),
        more_odd=more_odd,
        blank=tuple(_picture(one.path, shown(one.reason, NAME)) for one in blank),
        more_blank=more_blank,
        unreadable=tuple((shown(one.path, NAME), shown(one.reason, NAME)) for one in bad),
        more_unreadable=more_bad,
    )


def _groups(health: Health) -> list[Copies]:
    """Every group of copies once, those across splits first, then those across classes."""
    kinds = {
        frozenset(group.images): f"near-duplicates, correlation {group.correlation:.2f}"
        for group in health.near_duplicates
    }
    kinds |= {frozenset(group): "identical files" for group in health.exact_duplicates}
    across = {
        "splits": _by_name(health.duplicates_across_splits),
        "classes": _by_name(health.duplicates_across_classes),
    }
    ordered = [
        *health.duplicates_across_splits,
        *health.duplicates_across_classes,
        *health.exact_duplicates,
        *(group.images for group in health.near_duplicates),
    ]
    found: list[Copies] = []
    home: dict[str, int] = {}
    for names in ordered:
        if len({home.get(name, -1) for name in names}) == 1 and names[0] in home:
            continue  # a part of a group that is there already
        home.update(dict.fromkeys(names, len(found)))
        crossing = tuple(border for border, known in across.items() if _meets(names, known))
        found.append(_copies(names, kinds.get(frozenset(names), "copies"), crossing))
    return sorted(found, key=lambda group: ("splits" not in group.crossing, "classes" not in group.crossing))


def _by_name(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: number for number, group in enumerate(groups) for name in group}


def _meets(names: Iterable[str], known: Mapping[str, int]) -> bool:
    """Whether two of the names lie in one group that crosses the border."""
    numbers = [known[name] for name in names if name in known]
    return len(numbers) > len(set(numbers))


def _copies(names: Sequence[str], kind: str, crossing: tuple[str, ...]) -> Copies:
    some, more = _first(names, MOST_IN_GROUP)
    return Copies(tuple(_picture(name) for name in some), more, kind, crossing)


def _picture(name: str, *notes: str) -> Picture:
    return Picture(name, shown(name, NAME), notes)


def _first(entries: Sequence[Entry], most: int) -> tuple[Sequence[Entry], int]:
    return entries[:most], max(len(entries) - most, 0)


SIDE = 112
"""Longer side in pixels: a face or a label in it can be told, and a hundred of them weigh under half a megabyte."""

SMALL = 72
"""The same where very many are shown, in small: what an image is of can be told."""

QUALITY = 72
"""Of the JPEG; more cannot be told apart at this size."""


def thumbnails(
    names: Iterable[str], images: Mapping[str, Path], *, side: int = SIDE, value_range: ValueRange | None = None
) -> dict[str, str]:
    """A `data:` address for each name that can be drawn; the others are left out and logged.

    Args:
        names: names as the profile has them.
        images: name -> the file itself.
        side: longer side in pixels.
        value_range: see `read_image`.
    """
    wanted = list(dict.fromkeys(names))
    # Pillow decodes outside Python's lock, so threads share the work.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        drawn = pool.map(lambda name: _drawn(name, images.get(name), side, value_range), wanted)
        return {name: address for name, address in zip(wanted, drawn, strict=True) if address}


def _drawn(name: str, path: Path | None, side: int, value_range: ValueRange | None) -> str | None:
    if path is None:
        log.info("no picture of %r on the page: its file is not known", name)
        return None
    try:
        return data_address(read_image(path, at_least=side, value_range=value_range), side=side)
    except FinetuneAdvisorError as problem:
        log.info("no picture of %r on the page: %s", name, problem)
        return None


def data_address(image: Image.Image, *, side: int = SIDE) -> str:
    """An RGB image, made small, as an address that holds the picture itself."""
    image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


CELL, GAP, HEAD, LINE = 160, 10, 56, 20
"""Sides of a picture, of what lies between two, of the title with the names of the columns, and of a line of text, in
pixels."""
INK, GROUND = "#1f2933", "#ffffff"
LONGEST_TITLE = 22
"""Letters below a picture."""


@dataclass(frozen=True)
class Row:
    """An image as the network sees it, and what training sees in its first epochs."""

    title: str
    plain: Image.Image
    drawn: Sequence[Image.Image]


def draw_contact_sheet(rows: Sequence[Row], path: Path, *, title: str, heads: Sequence[str] | None = None) -> None:
    """Write a PNG with a line for each image; `heads` are the names of its columns, if they are not epochs.

    Raises:
        StorageError: the file cannot be written.
    """
    columns = 1 + max(len(row.drawn) for row in rows)
    step = CELL + GAP
    sheet = Image.new("RGB", (GAP + columns * step, HEAD + len(rows) * (step + LINE)), GROUND)
    pen, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(12)
    pen.text((GAP, GAP), title, INK, font=large)
    for column in range(columns):
        head = heads[column] if heads else f"epoch {column}" if column else "as it is"
        pen.text((GAP + column * step, HEAD - LINE), head, INK, font=small)
    for number, row in enumerate(rows):
        top = HEAD + number * (step + LINE)
        for column, image in enumerate((row.plain, *row.drawn)):
            sheet.paste(image.convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC), (GAP + column * step, top))
        room = LONGEST_TITLE * columns
        name = row.title if len(row.title) <= room else f"{row.title[: room - 1]}…"
        pen.text((GAP, top + CELL + 2), name, INK, font=small)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
