"""One pass over the images: every stage's features, the ruler's statistics and the logits, cached on disk.

Each distinct file content is decoded once and goes once through each frozen network. The rows are kept in the cache,
under what determines them: network, weights and preprocessing for the folder, the content of the file for the row. So
`run` does not pay again for what `analyze` did, and a changed or added file costs only itself.

Shapes: N images, B batch, C channels, D features, K classes of the pretrained classifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.storage import cache_root
from finetune_advisor.backbones.build import backbone_config, build
from finetune_advisor.backbones.stage_probe import POOLED
from finetune_advisor.backbones.trunk import FrozenTrunk, TrunkOutput, reference_norms
from finetune_advisor.backbones.weights import WORDS, Source, find_weights
from finetune_advisor.data.batches import eval_batches, normalize
from finetune_advisor.data.digest import digests as content_digests
from finetune_advisor.feature_store import Arrays, Common, FeatureStore
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing
from finetune_advisor.techniques.preprocessing import Preprocessing
from finetune_advisor.techniques.preprocessing.settings import Preprocess

FORMAT = 1
"""Raised when the meaning of a cached row changes."""

RULER = "tf_efficientnet_lite0"

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
        text = repr((FORMAT, self.backbone, found.digest, self.preprocess.key()))
        return f"{self.backbone}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


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
    """Place in the list of paths -> why it cannot be decoded."""
    digests: tuple[str | None, ...]
    """Of every path, None where the file cannot even be opened."""
    features: tuple[Features, ...]


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
        instruments: the networks to show them to; an image is decoded once for all that take the same input.
            Without any, images are only decoded, to learn which ones can be.
        device: torch device of the networks.
        workers: processes that decode; 0 decodes in this process.
        use_cache: False neither reads nor writes the cache on disk.
        progress: called with (images done, images to do) while computing.
    """
    digests = tuple(content_digests(paths))
    stores = [_store(instrument.key, use_cache) for instrument in instruments]
    bad_contents = _compute_missing(paths, digests, instruments, stores, device, workers, progress)
    bad_contents |= _check_decoding(paths, digests, stores, bad_contents, use_cache, workers, progress)
    unreadable: dict[int, str] = {}
    for index, digest in enumerate(digests):
        if digest is None:
            unreadable[index] = "the file cannot be opened"
        elif digest in bad_contents:
            unreadable[index] = bad_contents[digest]
    readable = tuple(index for index in range(len(paths)) if index not in unreadable)
    features = tuple(_gather(store, [str(digests[index]) for index in readable]) for store in stores)
    return Measurement(readable, unreadable, digests, features)


def _store(name: str, use_cache: bool) -> FeatureStore:
    return FeatureStore(cache_root() / "features" / name if use_cache else None)


def _gather(store: FeatureStore, digests: Sequence[str]) -> Features:
    if not digests:
        return Features({}, {}, ())
    arrays, common = store.gather(digests)
    return Features(arrays, common.reference, common.stages)


def _compute_missing(
    paths: Sequence[Path],
    digests: Sequence[str | None],
    instruments: Sequence[Instrument],
    stores: Sequence[FeatureStore],
    device: str,
    workers: int,
    progress: Progress | None,
) -> dict[str, str]:
    """Fill the stores; returns the contents that are not images, with the reason."""
    bad_contents: dict[str, str] = {}
    for preprocess in dict.fromkeys(instrument.preprocess for instrument in instruments):
        pairs = [
            (instrument, store)
            for instrument, store in zip(instruments, stores, strict=True)
            if instrument.preprocess == preprocess
        ]
        missing = _missing(digests, [store for _, store in pairs], bad_contents)
        if not missing:
            continue
        recorders = [_Recorder.start(instrument, store, device) for instrument, store in pairs]
        loader = eval_batches([paths[i] for i in missing], preprocess, batch=BATCH, workers=workers)
        done = 0
        for index_B, x_BCHW, bad in loader:
            bad_contents.update({str(digests[missing[place]]): reason for place, reason in bad})
            if len(index_B):
                x = normalize(x_BCHW.to(device, non_blocking=True), preprocess)
                names = [str(digests[missing[int(place)]]) for place in index_B]
                for recorder in recorders:
                    recorder.record(names, recorder.trunk(x))
            done += len(index_B) + len(bad)
            if progress is not None:
                progress(done, len(missing))
        for recorder in recorders:
            recorder.store.flush(recorder.common)
    return bad_contents


def _check_decoding(
    paths: Sequence[Path],
    digests: Sequence[str | None],
    stores: Sequence[FeatureStore],
    bad_contents: dict[str, str],
    use_cache: bool,
    workers: int,
    progress: Progress | None,
) -> dict[str, str]:
    """Decode what no network has seen; contents once found sound are remembered, also for later commands."""
    sound = _store("decodable", use_cache)
    bad_here: dict[str, str] = {}
    missing = _missing(digests, [sound], bad_contents)
    unseen = [] if stores else missing
    done = 0
    for index_B, _, bad in eval_batches([paths[i] for i in unseen], DECODE_ONLY, batch=BATCH, workers=workers):
        bad_here.update({str(digests[unseen[place]]): reason for place, reason in bad})
        done += len(index_B) + len(bad)
        if progress is not None:
            progress(done, len(unseen))
    common = Common((), {})
    for index in missing:
        digest = str(digests[index])
        if digest not in bad_here:
            sound.add(digest, {}, common)
    sound.flush(common)
    return bad_here


def _missing(digests: Sequence[str | None], stores: Sequence[FeatureStore], bad: dict[str, str]) -> list[int]:
    """The first place of every content that some store lacks."""
    first: dict[str, int] = {}
    for index, digest in enumerate(digests):
        if digest is not None and digest not in bad and any(digest not in store for store in stores):
            first.setdefault(digest, index)
    return list(first.values())


@dataclass(frozen=True)
class _Recorder:
    trunk: FrozenTrunk
    store: FeatureStore
    common: Common

    @staticmethod
    def start(instrument: Instrument, store: FeatureStore, device: str) -> _Recorder:
        backbone = build(instrument.backbone, instrument.weights, seed=instrument.seed, size=instrument.preprocess.size)
        trunk = FrozenTrunk(backbone, device=device, norm_statistics=True)
        reference: Arrays = {
            stage: np.stack([mean_C.cpu().numpy(), variance_C.cpu().numpy()])
            for stage, (mean_C, variance_C) in reference_norms(backbone).items()
        }
        return _Recorder(trunk, store, Common(tuple(stage.name for stage in trunk.stages), reference))

    def record(self, digests: Sequence[str], output: TrunkOutput) -> None:
        arrays = dict(_named(output))
        for row, digest in enumerate(digests):
            self.store.add(digest, {name: values[row] for name, values in arrays.items()}, self.common)


def _named(output: TrunkOutput) -> Iterator[tuple[str, FloatArray]]:
    for name, values in output.stages.items():
        yield f"stage.{name}", values.cpu().numpy()
    for name, values in output.norms.items():
        yield f"norm.{name}", values.cpu().numpy()
    yield POOLED, output.pooled.cpu().numpy()
    if output.logits is not None:
        yield "logits", output.logits.cpu().numpy()
