"""One pass over the images through frozen networks: every stage's features and the reference network's statistics.

On a CPU the network runs as an inference graph where that pays; else, and on other devices, as it is.

Each distinct file content is decoded once and goes once through each frozen network. The rows are kept in the cache,
under what determines them: network, weights and preprocessing for the folder, the content of the file for the row. So
`run` does not pay again for what `analyze` did, and a changed or added file costs only itself. Contents that cannot be
decoded are remembered in the same way, with the reason.

Under torchrun each process measures its share of the missing contents, and the rows meet in the cache.

Shapes: B batch, C channels, H height, W width, N images, D features, K classes of the pretrained classifier.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finetune_advisor import processes
from finetune_advisor.backbones.build import backbone_config, build
from finetune_advisor.backbones.bundled import RULER
from finetune_advisor.backbones.frozen import FrozenTrunk, precision_on, reference_norms
from finetune_advisor.backbones.inference_graph import InferenceGraph, NoGraph, do_without, open_graph_if_worth
from finetune_advisor.backbones.weights import WORDS, Source, find_weights
from finetune_advisor.backbones.wrappers.stage_probe import POOLED
from finetune_advisor.errors import BackboneError
from finetune_advisor.features.store import Arrays, Common, FeatureStore, StoredRows
from finetune_advisor.images.decode import ReasonStore, decoder_key
from finetune_advisor.images.decode import digests as content_digests
from finetune_advisor.images.thumbnails import COLOR_THUMBNAIL, DETAIL, MODES, THUMBNAIL, Looks, looks_of, mode_index
from finetune_advisor.loading.augmented import BadImage, eval_views
from finetune_advisor.loading.batches import normalize, sent_to
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.storage.files import cache_root
from finetune_advisor.techniques.preprocessing import AskColors, Preprocess, Preprocessing, ValueRange
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing

log = logging.getLogger(__name__)

FORMAT = 2
"""Raised when the meaning of a cached row changes."""

Change = Literal["horizontal_flip", "vertical_flip", "rotation_90", "gray"]
"""What may be done to the pixels before the network sees them."""


@dataclass(frozen=True)
class Instrument:
    """A frozen network and how images are shown to it."""

    backbone: str
    weights: str
    preprocess: Preprocess
    seed: int = 0
    """Seeds random weights, and is 0 where weights are not random."""
    change: Change | None = None

    @cached_property
    def key(self) -> str:
        """Name of the cache folder: everything a row depends on beside the image and the precision of the device."""
        found = find_weights(self.backbone, self.weights, seed=self.seed)
        changed = () if self.change is None else (self.change,)
        return cache_key(self.backbone, FORMAT, self.backbone, found.digest, self.preprocess.key(), *changed)


def cache_key(name: str, *parts: object) -> str:
    """A name with a digest of everything that what is cached under it depends on."""
    return f"{name}-{hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()}"


def preprocess_of(
    backbone: str, weights: str, preprocessing: Preprocessing, colors: AskColors | None = None
) -> Preprocess:
    """How images are shown to these weights, where `preprocessing` asks for it by the training images' colors.

    Raises:
        BackboneError: timm does not know the network.
    """
    source: Source = weights if weights in WORDS else "file"  # type: ignore[assignment]
    return preprocessing.resolve(backbone_config(backbone, source), colors)


def instrument(backbone: str, weights: str, preprocessing: Preprocessing, *, seed: int = 0) -> Instrument:
    """The network a recipe names, shown images the way the recipe says."""
    return Instrument(
        backbone, weights, preprocess_of(backbone, weights, preprocessing), seed if weights == "random" else 0
    )


def instrument_of(recipe: Recipe) -> Instrument:
    """The network of a recipe, as a run of it sees the images."""
    return instrument(recipe.backbone.name, recipe.backbone.weights, recipe.preprocessing, seed=recipe.seed)


def ruler(value_range: ValueRange | None = None) -> Instrument:
    """The fixed instrument that similarity is measured with, whatever backbone is trained.

    Its BatchNorm layers carry ImageNet's statistics and its classifier knows ImageNet's classes.

    Args:
        value_range: of the data set, see `Preprocess`.
    """
    return instrument(RULER, "bundled", BackbonePreprocessing(size=224, fit="crop", value_range=value_range))


TOGETHER_ON_GPU = 256
"""Images that go through a network together where a GPU is to be kept busy."""

FloatArray = npt.NDArray[np.float32]
Readings = Callable[[], dict[str, FloatArray]]
"""Waits for the end of a pass and gives what was read in it, by name."""


def changed(x_BCHW: Tensor, change: Change | None) -> Tensor:
    """The same images (B, C, H, W), uint8, turned, mirrored or without color (luma of ITU-R BT.601, as in Pillow)."""
    match change:
        case None:
            return x_BCHW
        case "horizontal_flip":
            return x_BCHW.flip(3)
        case "vertical_flip":
            return x_BCHW.flip(2)
        case "rotation_90":
            return x_BCHW.rot90(1, (2, 3))
        case "gray":
            luma_C = torch.tensor([0.299, 0.587, 0.114], device=x_BCHW.device).view(1, 3, 1, 1)
            gray_B1HW = (x_BCHW * luma_C).sum(1, keepdim=True).round().to(torch.uint8)
            return gray_B1HW.expand_as(x_BCHW)


@dataclass
class Reader:
    """A frozen network that reads uint8 images, by whichever way is fastest here."""

    trunk: FrozenTrunk
    preprocess: Preprocess
    images: int
    """That are still to come."""
    keep: bool
    """Whether the cache on disk is used."""
    _graph: InferenceGraph | None = None
    _begun: bool = False

    @staticmethod
    def of(instrument: Instrument, device: str, *, images: int, keep: bool) -> Reader:
        """Build the network of an instrument."""
        backbone = build(instrument.backbone, instrument.weights, seed=instrument.seed, size=instrument.preprocess.size)
        trunk = FrozenTrunk(backbone, device=device, norm_statistics=True)
        return Reader(trunk, instrument.preprocess, images, keep)

    @cached_property
    def common(self) -> Common:
        """What the readings of all images share."""
        reference = {
            stage: np.stack([mean_C.cpu().numpy(), variance_C.cpu().numpy()])
            for stage, (mean_C, variance_C) in reference_norms(self.trunk.backbone).items()
        }
        return Common(tuple(stage.name for stage in self.trunk.stages), reference)

    def __call__(self, x_BCHW: Tensor) -> dict[str, FloatArray]:
        """What the network reads in images (B, C, H, W), by name."""
        return self.begin(x_BCHW)()

    def begin(self, x_BCHW: Tensor) -> Readings:
        """Set off a pass over images (B, C, H, W); a GPU is at work on it while the caller does something else."""
        if not self._begun:
            self._graph, self._begun = self._open_graph(x_BCHW), True
        if self._graph is not None:
            try:
                readings = self._graph(x_BCHW)
            except NoGraph as reason:
                self._graph = None
                do_without(self.trunk.backbone.name, reason)
            else:
                return lambda: readings
        return self.trunk.begin(normalize(self.sent(x_BCHW), self.preprocess))

    def sent(self, x_BCHW: Tensor) -> Tensor:
        """Images on the device of the network; a GPU gets them while the caller does something else."""
        return sent_to(self.trunk.device, x_BCHW)

    @property
    def together(self) -> int:
        """Images that fill the device, of which a graph takes as many as are good for it."""
        return 1 if self.trunk.device.type == "cpu" else TOGETHER_ON_GPU

    def _open_graph(self, x_BCHW: Tensor) -> InferenceGraph | None:
        if self.trunk.device.type != "cpu":
            return None
        p = self.preprocess
        return open_graph_if_worth(self.trunk, x_BCHW, mean=p.mean, std=p.std, images=self.images, keep=self.keep)


@dataclass
class Recorder:
    """Shows images to one instrument, and keeps what it sees in a store."""

    reader: Reader
    instrument: Instrument
    store: FeatureStore
    _waiting: list[tuple[list[str], Tensor]] = field(default_factory=list)
    """Digests and images that are too few for a pass, on the device."""
    _last: tuple[list[str], Readings] | None = None
    """The digests last shown, and what waits for the end of their pass."""

    @property
    def preprocess(self) -> Preprocess:
        return self.instrument.preprocess

    @property
    def common(self) -> Common:
        return self.reader.common

    def record(self, digests: Sequence[str], x_BCHW: Tensor) -> None:
        """Show the network those of the images that its store lacks, or keep them until they fill the device.

        What it reads is written down at the next pass, so a GPU is at work while the next images are fetched.
        """
        rows = [row for row, digest in enumerate(digests) if digest not in self.store]
        if rows:
            x_BCHW = x_BCHW if len(rows) == len(digests) else x_BCHW[rows]
            self._waiting.append(([digests[row] for row in rows], self.reader.sent(x_BCHW)))
            if sum(len(some) for some, _ in self._waiting) >= self.reader.together:
                self._show()

    def finish(self) -> None:
        """Show and write down the last images, and write everything to the disk."""
        self._show()
        self._write_down()
        self.store.flush(self.common)

    def _show(self) -> None:
        if self._waiting:
            digests = [digest for some, _ in self._waiting for digest in some]
            x_BCHW = torch.cat([images for _, images in self._waiting])
            self._waiting = []
            readings = self.reader.begin(changed(x_BCHW, self.instrument.change).contiguous())
            self._write_down()
            self._last = digests, readings

    def _write_down(self) -> None:
        if self._last is not None:
            digests, readings = self._last
            read = readings()
            self._require_numbers(read)
            self.store.add(digests, read, self.common)
            self._last = None

    def _require_numbers(self, read: Mapping[str, FloatArray]) -> None:
        """Linear classifiers of NaN know nothing and do not say so."""
        for name, values in read.items():
            if not np.isfinite(values).all():
                raise BackboneError(
                    f"{self.instrument.backbone} with {self.instrument.weights} weights answers with NaN or infinity "
                    f"to some images ({name}).",
                    "Its weights are damaged, or made for another precision: try others with --weights.",
                )


def recorders(wanted: Sequence[tuple[Instrument, FeatureStore, int]], device: str, *, keep: bool) -> Iterator[Recorder]:
    """A recorder for each instrument with its store and the number of images the store lacks.

    Instruments that differ only in what is done to the pixels share one network.
    """
    images = Counter[Instrument]()
    for instrument, _, lacking in wanted:
        images[unchanged(instrument)] += lacking
    readers = {each: Reader.of(each, device, images=count, keep=keep) for each, count in images.items()}
    for instrument, store, _ in wanted:
        yield Recorder(readers[unchanged(instrument)], instrument, store)


def unchanged(instrument: Instrument) -> Instrument:
    """The instrument that is shown the pixels as they are."""
    return replace(instrument, change=None)


BATCH = 32
"""Images that are decoded together."""

DECODE_ONLY = Preprocess(32, "stretch", 1.0, "nearest", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""The cheapest input there is: for learning whether an image can be decoded."""

Progress = Callable[[int, int], None]


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
