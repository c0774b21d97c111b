"""One pass over the images: every stage's features, the ruler's statistics and the logits, cached on disk.

Each distinct file content is decoded once and goes once through each frozen network. The rows are kept in the cache,
under what determines them: network, weights and preprocessing for the folder, the content of the file for the row. So
`run` does not pay again for what `analyze` did, and a changed or added file costs only itself. Contents that cannot be
decoded are remembered in the same way, with the reason.

Shapes: N images, B batch, C channels, D features, K classes of the pretrained classifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from finetune_advisor.artifacts.storage import cache_root
from finetune_advisor.backbones.build import backbone_config, build
from finetune_advisor.backbones.bundled import RULER
from finetune_advisor.backbones.stage_probe import POOLED
from finetune_advisor.backbones.trunk import FrozenTrunk, TrunkOutput, reference_norms
from finetune_advisor.backbones.weights import WORDS, Source, find_weights
from finetune_advisor.data.batches import normalize
from finetune_advisor.data.decode import decoder_key
from finetune_advisor.data.digest import digests as content_digests
from finetune_advisor.data.looks import MODES, THUMBNAIL, Looks, looks_of, mode_index
from finetune_advisor.data.undecodable import ReasonStore
from finetune_advisor.data.views import BadImage, eval_views
from finetune_advisor.feature_store import Arrays, Common, FeatureStore
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing
from finetune_advisor.techniques.preprocessing import Preprocessing
from finetune_advisor.techniques.preprocessing.settings import Preprocess

FORMAT = 1
"""Raised when the meaning of a cached row changes."""

BATCH = 32

DECODE_ONLY = Preprocess(32, "stretch", 1.0, "nearest", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""The cheapest input there is: for learning whether an image can be decoded."""

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Instrument:
    """A frozen network and how images are shown to it."""

    backbone: str
    weights: str
    preprocess: Preprocess
    seed: int = 0
    """Seeds random weights, and is 0 where weights are not random."""

    @cached_property
    def key(self) -> str:
        """Name of the cache folder: everything a row depends on beside the image."""
        found = find_weights(self.backbone, self.weights, seed=self.seed)
        return _key(self.backbone, FORMAT, self.backbone, found.digest, self.preprocess.key())


def _key(name: str, *parts: object) -> str:
    return f"{name}-{hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()}"


def preprocess_of(backbone: str, weights: str, preprocessing: Preprocessing) -> Preprocess:
    """How these weights want images shown, with the size and fit that `preprocessing` asks for.

    Raises:
        BackboneError: timm does not know the network.
    """
    source: Source = weights if weights in WORDS else "file"  # type: ignore[assignment]
    return preprocessing.resolve(backbone_config(backbone, source))


def instrument(backbone: str, weights: str, preprocessing: Preprocessing, *, seed: int = 0) -> Instrument:
    """The network a recipe names, shown images the way the recipe says."""
    return Instrument(
        backbone, weights, preprocess_of(backbone, weights, preprocessing), seed if weights == "random" else 0
    )


def ruler() -> Instrument:
    """The fixed instrument that similarity is measured with, whatever backbone is trained.

    Its BatchNorm layers carry ImageNet's statistics and its classifier knows ImageNet's classes.
    """
    return instrument(RULER, "bundled", BackbonePreprocessing(size=224, fit="crop"))


@dataclass(frozen=True)
class Features:
    """What one instrument saw, a row per readable image.

    Arrays: `stage.<name>` (N, 2C) channel means then deviations, `pooled` (N, D) what the classifier sees,
    `logits` (N, K) where the pretrained classifier is there, `norm.<stage>` (N, 2C) means then variances at a
    BatchNorm input. `reference` holds the pretrained running mean and variance of those layers, each (2, C).
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
        chosen = {name: values[index_N] for name, values in self.arrays.items()}
        return Features(chosen, self.reference, self.stages)


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
    use_cache: bool = True,
    progress: Progress | None = None,
) -> Measurement:
    """Read features from the cache and compute the missing ones in one pass over the images.

    Args:
        paths: image files, in any order; equal contents are computed once.
        instruments: the networks to show them to; an image is decoded once for all of them. Without any, images
            are only decoded, to learn which ones can be.
        device: torch device of the networks.
        workers: processes that decode; 0 decodes in this process.
        use_cache: False neither reads nor writes the cache on disk.
        progress: called with (images done, images to do) while computing.
    """
    digests, unopened = content_digests(paths)
    cache = cache_root() / "features" if use_cache else None
    stores = [FeatureStore(cache and cache / instrument.key) for instrument in instruments]
    seen = FeatureStore(cache and cache / _key("looks", FORMAT, THUMBNAIL))
    undecodable = ReasonStore(cache and cache / _key("undecodable", decoder_key()))
    path_of = {digest: path for digest, path in zip(digests, paths, strict=True) if digest is not None}
    bad = undecodable.load(path_of)
    missing = _missing((digest for digest in path_of if digest not in bad), [*stores, seen])
    recorders = _recorders(instruments, stores, missing, device)
    found = _look({digest: path_of[digest] for digest in missing}, recorders, seen, workers, progress)
    undecodable.save({digest: image.reason for digest, image in found.items() if image.of_content})
    bad |= {digest: image.reason for digest, image in found.items()}
    unreadable = unopened | {place: bad[digest] for place, digest in enumerate(digests) if digest in bad}
    readable = tuple(place for place in range(len(paths)) if place not in unreadable)
    rows = [str(digests[place]) for place in readable]
    features = tuple(_gather(store, rows) for store in stores)
    return Measurement(readable, unreadable, digests, features, _looks(seen, rows))


def _gather(store: FeatureStore, digests: Sequence[str]) -> Features:
    if not digests:
        return Features({}, {}, ())
    arrays, common = store.gather(digests)
    return Features(arrays, common.reference, common.stages)


def _missing(digests: Iterable[str], stores: Sequence[FeatureStore]) -> list[str]:
    """The contents that some store lacks."""
    return [digest for digest in digests if any(digest not in store for store in stores)]


def _recorders(
    instruments: Sequence[Instrument], stores: Sequence[FeatureStore], missing: Iterable[str], device: str
) -> list[_Recorder]:
    """One for each instrument that has something to see; building a network takes seconds."""
    return [
        _Recorder.start(instrument, store, device)
        for instrument, store in zip(instruments, stores, strict=True)
        if _missing(missing, [store])
    ]


def _look(
    path_of: Mapping[str, Path],
    recorders: Sequence[_Recorder],
    seen: FeatureStore,
    workers: int,
    progress: Progress | None,
) -> dict[str, BadImage]:
    """Show each content to the networks; returns those that cannot be decoded, by digest."""
    digests = list(path_of)
    bad: dict[str, BadImage] = {}
    views = [recorder.preprocess for recorder in recorders] or [DECODE_ONLY]
    done = 0
    for made in eval_views(list(path_of.values()), views, batch=BATCH, workers=workers):
        bad |= {digests[image.place]: image for image in made.bad}
        names = [digests[place] for place in made.index_B]
        _record_looks(seen, names, made.looks)
        for recorder in recorders:
            recorder.record(names, made.pixels[recorder.preprocess])
        done += len(made.index_B) + len(made.bad)
        if progress is not None:
            progress(done, len(digests))
    for recorder in recorders:
        recorder.store.flush(recorder.common)
    seen.flush(_NOTHING_COMMON)
    return bad


_NOTHING_COMMON = Common((), {})


def _record_looks(seen: FeatureStore, digests: Sequence[str], looks: Looks) -> None:
    for row, digest in enumerate(digests):
        if digest not in seen:
            values: Arrays = {
                "thumbnail": looks.thumbnails_NHW[row],
                "size": looks.sizes_N2[row],
                "mode": np.array(mode_index(looks.modes[row]), np.uint8),
            }
            seen.add(digest, values, _NOTHING_COMMON)


def _looks(seen: FeatureStore, digests: Sequence[str]) -> Looks:
    if not digests:
        return looks_of([], [], [])
    arrays, _ = seen.gather(digests)
    modes = tuple(MODES[index] for index in arrays["mode"].tolist())
    return Looks(arrays["thumbnail"], arrays["size"], modes)


@dataclass(frozen=True)
class _Recorder:
    """Writes down what one network sees."""

    trunk: FrozenTrunk
    preprocess: Preprocess
    store: FeatureStore
    common: Common
    device: str

    @staticmethod
    def start(instrument: Instrument, store: FeatureStore, device: str) -> _Recorder:
        backbone = build(instrument.backbone, instrument.weights, seed=instrument.seed, size=instrument.preprocess.size)
        trunk = FrozenTrunk(backbone, device=device, norm_statistics=True)
        reference: Arrays = {
            stage: np.stack([mean_C.cpu().numpy(), variance_C.cpu().numpy()])
            for stage, (mean_C, variance_C) in reference_norms(backbone).items()
        }
        common = Common(tuple(stage.name for stage in trunk.stages), reference)
        return _Recorder(trunk, instrument.preprocess, store, common, device)

    def record(self, digests: Sequence[str], x_BCHW: torch.Tensor) -> None:
        """Show the network those of the images that its store lacks."""
        rows = [row for row, digest in enumerate(digests) if digest not in self.store]
        if not rows:
            return
        x_BCHW = x_BCHW[rows].to(self.device, non_blocking=True)
        arrays = dict(_named(self.trunk(normalize(x_BCHW, self.preprocess))))
        for place, row in enumerate(rows):
            self.store.add(digests[row], {name: values[place] for name, values in arrays.items()}, self.common)


def _named(output: TrunkOutput) -> Iterator[tuple[str, FloatArray]]:
    for name, values in output.stages.items():
        yield f"stage.{name}", values.cpu().numpy()
    for name, values in output.norms.items():
        yield f"norm.{name}", values.cpu().numpy()
    yield POOLED, output.pooled.cpu().numpy()
    if output.logits is not None:
        yield "logits", output.logits.cpu().numpy()
