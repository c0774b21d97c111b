"""Hugging Face data sets, by name or saved to disk: their images are written once to the cache, as files."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from finetune_advisor.errors import DataError, did_you_mean
from finetune_advisor.images.sources.listing import SPLIT_WORDS, USUAL, Listing, Reading, Sample, Split, is_missing
from finetune_advisor.images.sources.scan import image_suffixes, natural
from finetune_advisor.images.sources.table import LABELS, plain
from finetune_advisor.storage.paths import HUB as PREFIX
from finetune_advisor.storage.unpacked import FILES, unpacked
from finetune_advisor.text import counted, listed


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


_NAMES = "names.json"
_BATCH = 64
"""Images in memory at once."""
_PATIENCE = 5.0
"""Seconds that the Hub may take to answer at all."""
_UNSPLIT = "images"
"""Folder of the images where the data set has no splits."""
_NEEDS_DATASETS = "Install what reads them: pip install datasets huggingface-hub"
_OPENINGS = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"BM": ".bmp",
}

Parts = Mapping[str, Any]
"""A `datasets.Dataset` for each word that names a split, or for `images` where there are none."""


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` of the library `datasets` wrote this folder."""
    one = (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    return one or (folder / "dataset_dict.json").is_file()


def list_saved(folder: Path, reading: Reading = USUAL) -> Listing:
    """List the images of a data set saved to disk.

    Raises:
        DataError: see `list_hub`.
        StorageError: the cache cannot take the images.
    """
    datasets = _datasets(str(folder))
    with _loading(str(folder)):
        loaded = datasets.load_from_disk(str(folder))
    return _listing(loaded, str(folder), reading)


def list_hub(source: str, reading: Reading = USUAL) -> Listing:
    """List the images of `hf:NAME[:CONFIG]`, which are downloaded if the library `datasets` does not have them yet.

    The images are the column of type Image, the labels that of type ClassLabel, or one called label, labels or
    class. Images that are stored in the data set are written to the cache as they are, named by split and row; where
    only their paths are stored, the files are used in place. Images without a label are left out, and so are splits
    other than train, validation and test; notes count them. Without a network the library's cache is read.

    Args:
        source: `hf:NAME`, or `hf:NAME:CONFIG` where the data set has several.
        reading: which columns are used.

    Raises:
        DataError: `datasets` is not installed, the data set is not to be had, or its columns are not those of
            labeled images.
        StorageError: the cache cannot take the images.
    """
    name, _, config = source.removeprefix(PREFIX).partition(":")
    if not name:
        raise DataError(f"{source!r} names no data set.", "Expected hf:NAME or hf:NAME:CONFIG, such as hf:beans.")
    datasets = _datasets(source)
    with _loading(source), _offline_at_once(source) as cached:
        loaded = datasets.load_dataset(name, config or None)
    return _listing(loaded, source, reading, cached)


def _datasets(source: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{source} is a Hugging Face data set; the library `datasets` is not installed.", _NEEDS_DATASETS
        ) from error
    return datasets


@contextmanager
def _loading(source: str) -> Iterator[None]:
    """Turn what the library raises into one clear error."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (OSError, ValueError, RuntimeError, DatasetsError, HfHubHTTPError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        hint = "Check the name; one of several configurations is named hf:NAME:CONFIG."
        if isinstance(error, ConnectionError):
            hint = "Connect to the network; or save the data set elsewhere with save_to_disk and name that folder."
        elif not source.startswith(PREFIX):
            hint = "Save it again with save_to_disk."
        raise DataError(f"{source} cannot be loaded: {reason}.", hint) from error


@contextmanager
def _offline_at_once(source: str) -> Iterator[tuple[str, ...]]:
    """Without a network, let the library look into its cache right away: it would try again for minutes.

    What is given to the block is a note on that, if there is one.
    """
    from datasets import config
    from huggingface_hub import constants

    if config.HF_HUB_OFFLINE or _is_reachable(constants.ENDPOINT):
        yield ()
        return
    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield (f"{constants.ENDPOINT} cannot be reached: {source} is read from the cache and may not be the newest.",)
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _is_reachable(url: str) -> bool:
    """Whether anything answers there, asked once."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=_PATIENCE):  # noqa: S310 (the library's own address)
            return True
    except HTTPError:
        return True
    except (OSError, ValueError) as error:
        # The library brings certificates of its own, so that one which is not known here says nothing.
        return isinstance(getattr(error, "reason", None), ssl.SSLError)


def _listing(loaded: Any, source: str, reading: Reading = USUAL, notes: Sequence[str] = ()) -> Listing:
    notes = [*notes]
    parts = _parts(loaded, source, notes)
    columns = find_columns(source, next(iter(parts.values())).features, reading)
    place = unpacked("datasets", _key(parts, columns), lambda folder: _write(parts, columns, folder))
    names = json.loads((place / _NAMES).read_bytes())
    root = str(place / FILES)
    rows: list[tuple[str, str, Split | None, str | None]] = []
    for word, part in parts.items():
        split = SPLIT_WORDS.get(word)
        labels = [_label(value, columns) for value in part[columns.label]]
        groups = part[columns.group] if columns.group else [None] * len(labels)
        found = zip(names[word], labels, groups, strict=True)
        labeled = [
            (name, label, split, None if value in {None, ""} else str(value))
            for name, label, value in found
            if label is not None
        ]
        if len(labeled) < len(labels):
            notes.append(f"{counted(len(labels) - len(labeled), 'image')} left out of {word}, without a label.")
        rows += labeled
    if not rows:
        raise DataError(f"{source} holds no labeled images.", "Expected images with labels.")
    _require_once(rows, source)
    classes = tuple(sorted({label for _, label, _, _ in rows}, key=natural))
    label_of = {name: place for place, name in enumerate(classes)}
    samples = [Sample(root, name, label_of[label], split, value) for name, label, split, value in rows]
    samples.sort(key=lambda sample: natural(sample.name))
    return Listing(
        root=place / FILES,
        source=source,
        classes=classes,
        samples=tuple(samples),
        ignored=(),
        notes=tuple(notes),
        packed=source,
        group_column=columns.group,
    )


def _parts(loaded: Any, source: str, notes: list[str]) -> dict[str, Any]:
    """The parts that are used, by word."""
    if not hasattr(loaded, "keys"):
        word = str(loaded.split)
        return {word if word in SPLIT_WORDS else _UNSPLIT: loaded}
    known = {word: part for word, part in loaded.items() if word.lower() in SPLIT_WORDS}
    others = [word for word in loaded if word not in known]
    if not known:
        near = did_you_mean(others[0], SPLIT_WORDS) if others else ""
        raise DataError(
            f"{source} has no split that is known here: {listed(others) or 'none at all'}{near or '.'}",
            "Expected train, and optionally validation and test.",
        )
    if others:
        sizes = (f"{word} ({counted(len(loaded[word]), 'image')})" for word in others)
        notes.append(f"Splits left out, which are none of train, validation and test: {listed(sizes)}.")
    parts: dict[str, Any] = {}
    for word, part in known.items():
        if word.lower() in parts or SPLIT_WORDS[word.lower()] in map(SPLIT_WORDS.get, parts):
            raise DataError(
                f"{source} has two splits for {SPLIT_WORDS[word.lower()]}: {listed(known)}.", "Expected one."
            )
        parts[word.lower()] = part
    return parts


def _key(parts: Parts, columns: Columns) -> str:
    question = [(word, part._fingerprint, len(part), columns.image) for word, part in parts.items()]
    return hashlib.blake2b(repr(question).encode(), digest_size=16).hexdigest()


def _write(parts: Parts, columns: Columns, folder: Path) -> None:
    """Write the images of all parts, and their names in order."""
    import datasets

    names: dict[str, list[str]] = {}
    for word, part in parts.items():
        (folder / FILES / word).mkdir()
        images = part.select_columns([columns.image]).cast_column(columns.image, datasets.Image(decode=False))
        names[word] = []
        for batch in images.iter(batch_size=_BATCH):
            for image in batch[columns.image]:
                names[word].append(_write_image(image or {}, folder / FILES, f"{word}/{len(names[word]):07d}"))
    (folder / _NAMES).write_text(json.dumps(names), encoding="utf-8")


def _write_image(image: Mapping[str, Any], files: Path, name: str) -> str:
    """Write one image; its name. One without content is not written and will be reported as missing."""
    content, path = image.get("bytes"), image.get("path") or ""
    if content is None:
        return str(Path(path).absolute()) if path else name
    suffix = Path(path).suffix.lower()
    if suffix not in image_suffixes():
        suffix = next((each for opening, each in _OPENINGS.items() if content.startswith(opening)), "")
    (files / f"{name}{suffix}").write_bytes(content)
    return f"{name}{suffix}"


def _label(value: Any, columns: Columns) -> str | None:
    """The class name; None where there is none, which numbers say by -1."""
    if value is None or is_missing(str(value)):
        return None
    if columns.classes is None:
        return str(value)
    return columns.classes[value] if value >= 0 else None


def _require_once(rows: list[tuple[str, str, Split | None, str | None]], source: str) -> None:
    names = [name for name, _, _, _ in rows]
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    twice = dict.fromkeys(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    raise DataError(
        f"{source} holds {counted(len(twice), 'file')} more than once: {listed(twice)}.", "Expected each once."
    )
