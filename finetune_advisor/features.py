"""One pass over the images: every stage's features, the ruler's statistics and the logits, cached on disk.

Each distinct file content is decoded once and goes once through each frozen network. The rows are kept in the cache,
under what determines them: network, weights and preprocessing for the folder, the content of the file for the row. So
`run` does not pay again for what `analyze` did, and a changed or added file costs only itself. Contents that cannot be
decoded are remembered in the same way, with the reason.

Under torchrun each process measures its share of the missing contents, and the rows meet in the cache.

Shapes: N images, B batch, C channels, D features, K classes of the pretrained classifier.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor import processes
from finetune_advisor.artifacts.storage import cache_root
from finetune_advisor.backbones.stage_probe import POOLED
from finetune_advisor.backbones.trunk import precision_on
from finetune_advisor.data.decode import decoder_key
from finetune_advisor.data.digest import digests as content_digests
from finetune_advisor.data.looks import COLOR_THUMBNAIL, DETAIL, MODES, THUMBNAIL, Looks, looks_of, mode_index
from finetune_advisor.data.undecodable import ReasonStore
from finetune_advisor.data.views import BadImage, eval_views
from finetune_advisor.feature_store import Arrays, Common, FeatureStore, StoredRows
from finetune_advisor.instruments import FORMAT, Instrument, cache_key
from finetune_advisor.recorder import Recorder, recorders
from finetune_advisor.techniques.preprocessing.settings import Preprocess, ValueRange

BATCH = 32
"""Images that are decoded together."""

DECODE_ONLY = Preprocess(32, "stretch", 1.0, "nearest", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""The cheapest input there is: for learning whether an image can be decoded."""

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What one instrument saw, a row per readable image.

    Arrays: `stage.<name>` (N, 2C) channel means then deviations, `pooled` (N, D) what the classifier sees,
    `logits` (N, K) where the pretrained classifier is there, `norm.<stage>` (N, 2C) means then variances at a
    BatchNorm input; what is stored is read from the disk at each look. `reference` holds the pretrained running mean
    and variance of those layers, each (2, C).
    """

    arrays: Arrays
    reference: Arrays
    stages: tuple[str, ...]

    def stage(self, name: str) -> FloatArray:
        """Features of one place, or of `all` of them concatenated (N, D)."""
        if name == "all":
            return self.concatenated(self.places)
        return self.arrays[POOLED if name == POOLED else f"stage.{name}"]

    @property
    def places(self) -> tuple[str, ...]:
        """Where a linear classifier can be fitted: the ends of the stages, then `pooled`."""
        return (*self.stages, POOLED)

    def concatenated(self, places: Iterable[str]) -> FloatArray:
        """Several places side by side, in the order given (N, sum of their D)."""
        return np.concatenate([self.stage(name) for name in places], axis=1)

    def rows(self, index_N: npt.NDArray[np.integer]) -> Features:
        """The same features for a selection of images."""
        stored = self.arrays
        if isinstance(stored, StoredRows):
            return Features(stored.select(index_N), self.reference, self.stages)
        return Features({name: values[index_N] for name, values in stored.items()}, self.reference, self.stages)


@dataclass(frozen=True)
class Measurement:
    """Result of the pass: which images could be read, and one Features per instrument for those."""

    readable: tuple[int, ...]
    """Places in the list of paths; row n of every Features is path `readable[n]`."""
    unreadable: dict[int, str]
    """Place in the list of paths -> why it cannot be opened or decoded."""
    digests: tuple[str | None, ...]
    """Of every path, None where the file cannot even be opened."""
    features: tuple[Features, ...]
    looks: Looks
    """Of the readable images, a row each."""


def measure(
    paths: Sequence[Path],
    instruments: Sequence[Instrument],
    *,
    device: str,
    workers: int,
    value_range: ValueRange | None = None,
    use_cache: bool = True,
    together: bool = True,
    progress: Progress | None = None,
) -> Measurement:
    """Read features from the cache and compute the missing ones in one pass over the images.

    Args:
        paths: image files, in any order; equal contents are computed once.
        instruments: the networks to show them to; an image is decoded once for all of them. Without any, images
            are only decoded, to learn which ones can be.
        device: torch device of the networks.
        workers: processes that decode; 0 decodes in this process.
        value_range: which values of images with more than 8 bits per channel are black and white; that of every
            instrument.
        use_cache: False neither reads nor writes the cache on disk, and shares nothing between processes.
        together: whether all processes that torchrun started call this, with the same images, and share the work;
            False where one of them looks at something by itself.
        progress: called with (images done, images to do) while computing.

    Raises:
        OtherProcessEnded: under torchrun, another process will not do its share.
    """
    assert {each.preprocess.value_range for each in instruments} <= {value_range}, "one scale for a whole data set"
    digests, unopened = content_digests(paths)
    stores = _Stores.of(instruments, device, value_range, keep=use_cache)
    path_of = {digest: path for digest, path in zip(digests, paths, strict=True) if digest is not None}
    bad = stores.undecodable.load(path_of)
    for turn, share in enumerate(_shares(use_cache) if together else (processes.ALONE,)):
        missing = _missing((digest for digest in path_of if digest not in bad), stores.all)
        if turn and missing:
            log.warning("%d images of other processes are not in the cache here and measured again", len(missing))
        mine = {digest: path_of[digest] for digest in missing if share.takes(digest)}
        found = _look(mine, stores, device, workers, progress)
        bad |= found
        if share.of > 1:
            bad |= {digest: reason for theirs in processes.gather(found) for digest, reason in theirs.items()}
            stores.refresh()
    unreadable = unopened | {place: bad[digest] for place, digest in enumerate(digests) if digest in bad}
    readable = tuple(place for place in range(len(paths)) if place not in unreadable)
    rows = [str(digests[place]) for place in readable]
    features = tuple(_features(store, rows) for store in stores.features)
    return Measurement(readable, unreadable, digests, features, _looks(stores.looks, rows))


@dataclass(frozen=True)
class _Stores:
    """What is kept of the images, and of those that cannot be decoded."""

    instruments: Sequence[Instrument]
    features: Sequence[FeatureStore]
    """One for each instrument."""
    looks: FeatureStore
    undecodable: ReasonStore
    value_range: ValueRange | None
    keep: bool
    """Whether the cache on disk is used."""

    @staticmethod
    def of(instruments: Sequence[Instrument], device: str, value_range: ValueRange | None, *, keep: bool) -> _Stores:
        cache = cache_root() / "features" if keep else None
        precision = "" if precision_on(device) == "float32" else f".{precision_on(device)}"
        # Decoded by another scale thumbnails differ, and without one some images cannot be read.
        scale = () if value_range is None else (value_range,)
        return _Stores(
            instruments,
            [_store(cache and cache / f"{instrument.key}{precision}") for instrument in instruments],
            _store(cache and cache / cache_key("looks", FORMAT, THUMBNAIL, COLOR_THUMBNAIL, DETAIL, *scale)),
            ReasonStore(cache and cache / cache_key("undecodable", decoder_key(), *scale)),
            value_range,
            keep,
        )

    @property
    def all(self) -> list[FeatureStore]:
        return [*self.features, self.looks]

    def refresh(self) -> None:
        for store in self.all:
            store.refresh()


def _store(folder: Path | None) -> FeatureStore:
    return FeatureStore.temporary() if folder is None else FeatureStore(folder)


def _shares(use_cache: bool) -> tuple[processes.Share, ...]:
    if use_cache:
        return processes.shares()
    if processes.world_size() > 1:
        log.warning("without the cache each process measures every image itself")
    return (processes.ALONE,)


def _features(store: FeatureStore, digests: Sequence[str]) -> Features:
    if not digests:
        return Features({}, {}, ())
    common = store.common(digests[0])
    return Features(store.rows(digests), common.reference, common.stages)


def _missing(digests: Iterable[str], stores: Sequence[FeatureStore]) -> list[str]:
    """The contents that some store lacks."""
    return [digest for digest in digests if any(digest not in store for store in stores)]


def _recorders(stores: _Stores, missing: Sequence[str], device: str) -> list[Recorder]:
    """One for each instrument that has something to see; building a network takes seconds."""
    lacking = [len(_missing(missing, [store])) for store in stores.features]
    wanted = [each for each in zip(stores.instruments, stores.features, lacking, strict=True) if each[2]]
    return list(recorders(wanted, device, keep=stores.keep))


def _look(
    path_of: Mapping[str, Path], stores: _Stores, device: str, workers: int, progress: Progress | None
) -> dict[str, str]:
    """Show each content to the networks; returns those that cannot be decoded and why, by digest."""
    digests = list(path_of)
    bad: dict[str, BadImage] = {}
    lookers = _recorders(stores, digests, device)
    views = [recorder.preprocess for recorder in lookers] or [replace(DECODE_ONLY, value_range=stores.value_range)]
    done = 0
    for made in eval_views(list(path_of.values()), views, batch=BATCH, workers=workers, digests=digests):
        bad |= {digests[image.place]: image for image in made.bad}
        names = [digests[place] for place in made.index_B]
        _record_looks(stores.looks, names, made.looks)
        for recorder in lookers:
            recorder.record(names, made.pixels[recorder.preprocess])
        done += len(made.index_B) + len(made.bad)
        if progress is not None:
            progress(done, len(digests))
    for recorder in lookers:
        recorder.finish()
    stores.looks.flush(_NOTHING_COMMON)
    stores.undecodable.save({digest: image.reason for digest, image in bad.items() if image.of_content})
    return {digest: image.reason for digest, image in bad.items()}


_NOTHING_COMMON = Common((), {})


def _record_looks(seen: FeatureStore, digests: Sequence[str], looks: Looks) -> None:
    rows = [row for row, digest in enumerate(digests) if digest not in seen]
    if rows:
        values: Arrays = {
            "thumbnail": looks.thumbnails_NHW[rows],
            "colors": looks.colors_NHWC[rows],
            "size": looks.sizes_N2[rows],
            "mode": np.array([mode_index(looks.modes[row]) for row in rows], np.uint8),
        }
        seen.add([digests[row] for row in rows], values, _NOTHING_COMMON)


def _looks(seen: FeatureStore, digests: Sequence[str]) -> Looks:
    if not digests:
        return looks_of([], [], [], [])
    rows = seen.rows(digests)
    modes = tuple(MODES[index] for index in rows["mode"].tolist())
    return Looks(rows["thumbnail"], rows["size"], modes, rows["colors"])
