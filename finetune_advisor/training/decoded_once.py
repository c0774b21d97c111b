"""The plain feed with its images decoded once: small images and slow disks make decoding the slowest part.

Shapes: B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from finetune_advisor import processes
from finetune_advisor.artifacts.storage import remove_others
from finetune_advisor.data.augmented import decoded_pixels
from finetune_advisor.data.kept_pixels import Pixels as KeptImage
from finetune_advisor.data.kept_pixels import keep, open_kept
from finetune_advisor.errors import StorageError
from finetune_advisor.training.feed import Pixels

FORMAT = 3
"""Raised when the meaning of what is kept changes."""

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def decoded_once(pixels: Pixels, folder: Path, *, key: str, most_mib: int, progress: Progress) -> Pixels:
    """The same feed, bit by bit, with its images kept in a folder as far as there is room.

    Images of validation come first: as the network sees them they are small. The main process writes; another one on
    a machine with a disk of its own finds nothing there, and goes on decoding.

    Args:
        folder: of this run alone.
        key: says what is kept beside this feed's settings: the images' contents.
        most_mib: room for all files together.
        progress: told about (images done, images to do).

    Raises:
        DataError: an image cannot be read any more, or a worker process died.
    """
    splits = [split for split in ("val", "train") if pixels.samples[split]]
    paths = {split: folder / f"{split}-{_digest(pixels, split, key)}.pixels" for split in splits}
    if processes.is_main():
        remove_others(folder, "*.pixels", keep=paths.values())
        try:
            _write(pixels, paths, most_mib=most_mib, progress=progress)
        except StorageError as problem:
            log.warning("decoded images are not kept, every epoch decodes them: %s", problem.message)
    processes.barrier()
    found = {split: open_kept(path) for split, path in paths.items() if path.is_file()}
    return replace(pixels, kept={split: kept for split, kept in found.items() if kept is not None})


def in_words(pixels: Pixels) -> str:
    """What is kept, for a person."""
    if not pixels.kept:
        return "images are decoded anew"
    images, mib = sum(map(len, pixels.kept.values())), sum(kept.mib for kept in pixels.kept.values())
    total = sum(len(pixels.samples[split]) for split in ("train", "val"))
    return f"{images:,} of {total:,} images stay decoded ({mib:,.0f} MiB)"


def _write(pixels: Pixels, paths: Mapping[str, Path], *, most_mib: float, progress: Progress) -> None:
    todo: Mapping[str, Callable[[], Generator[KeptImage]]] = {
        "val": lambda: _evaluated(pixels),
        "train": lambda: decoded_pixels(pixels.images, workers=pixels.workers),
    }
    images = {split: len(pixels.samples[split]) for split in paths}
    done = 0
    for split, path in paths.items():
        made, kept = todo[split], open_kept(path)
        if kept is None and (split == "train" or _val_mib(pixels) <= most_mib):
            with closing(made()) as stream:
                kept = keep(path, _told(stream, progress, done, sum(images.values())), most_mib=most_mib)
        done += images[split]
        most_mib -= kept.mib if kept is not None else 0


def _val_mib(pixels: Pixels) -> float:
    return 3 * pixels.preprocess.size**2 * len(pixels.samples["val"]) / 2**20


def _evaluated(pixels: Pixels) -> Generator[KeptImage]:
    """Validation images one by one, as the network sees them (C, H, W)."""
    with closing(pixels.evaluation("val")) as stream:
        for x_BCHW in stream:
            yield from x_BCHW.numpy()


def _told(stream: Iterator[KeptImage], progress: Progress, before: int, total: int) -> Generator[KeptImage]:
    for number, image in enumerate(stream, start=before + 1):
        yield image
        progress(number, total)


def _digest(pixels: Pixels, split: str, key: str) -> str:
    return hashlib.blake2b(repr((FORMAT, split, pixels.preprocess.key(), key)).encode(), digest_size=8).hexdigest()
