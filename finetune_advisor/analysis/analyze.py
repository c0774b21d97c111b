"""The verb: images -> Profile. It measures and holds no opinion; the verdicts are added by `advice`."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np

from finetune_advisor.analysis.health import health
from finetune_advisor.analysis.probe_cache import remembered
from finetune_advisor.analysis.probes import probe_scores
from finetune_advisor.analysis.similarity import similarity
from finetune_advisor.analysis.size import size_of
from finetune_advisor.artifacts.profile import ProbeScore, Profile, Seconds, SplitCount
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.weights import default_weights
from finetune_advisor.data.batches import default_workers
from finetune_advisor.data.sources import open_source
from finetune_advisor.dataset import TRAINABLE, Dataset, open_dataset
from finetune_advisor.features import RULER, Instrument, Progress, instrument, ruler
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing
from finetune_advisor.techniques.strategy import LinearProbe


def analyze(
    path: str | Path,
    *,
    backbone: str = RULER,
    weights: str | None = None,
    size: int = 224,
    validation: float = 0.2,
    seed: int = 0,
    device: str = "cpu",
    use_cache: bool = True,
    progress: Progress | None = None,
    probe_progress: Progress | None = None,
) -> Profile:
    """Measure a data set: how much there is, how similar to ImageNet, how healthy, and what probes score.

    Test images, where the data has a test split, serve only the health checks.

    Args:
        path: a folder of class folders, or one with `train/` and optionally `val/` and `test/`.
        backbone: the timm network to be fine-tuned; similarity is always measured with the ruler.
        weights: `bundled`, `hub`, `random` or a file; None is `bundled` where a package here has them, else `hub`.
        size: side of the network's input, in pixels.
        validation: share of the training images to hold out, where the data has no validation split.
        seed: seeds the split, the folds and the bootstrap.
        device: torch device.
        use_cache: False measures every image again.
        progress, probe_progress: called with (done, to do) while images are measured and probes fitted.

    Raises:
        DataError: the data cannot be used.
        BackboneError: an unknown network, or weights that cannot be had.
    """
    start = perf_counter()
    weights = weights or default_weights(backbone)
    listing = open_source(path)
    listed = perf_counter()
    instruments = _instruments(backbone, weights, size, seed)
    data = open_dataset(
        listing,
        instruments,
        validation=validation,
        seed=seed,
        device=device,
        workers=default_workers(),
        use_cache=use_cache,
        progress=progress,
    )
    probes_start = perf_counter()
    trainable_N = data.index(*TRAINABLE)
    labels_N = data.labels(trainable_N)
    fold_N = data.folds(trainable_N, folds=LinearProbe().folds, seed=seed)

    def fit_probes() -> tuple[ProbeScore, ...]:
        features, classes = data.features[-1].rows(trainable_N), len(data.classes)
        return probe_scores(features, labels_N, fold_N, classes=classes, device=device, progress=probe_progress)

    if use_cache:
        probes = remembered(
            fit_probes,
            instrument=instruments[-1].key,
            contents=[data.digests[place] for place in trainable_N],
            labels_N=labels_N,
            fold_N=fold_N,
            strengths=LinearProbe().strengths,
        )
    else:
        probes = fit_probes()
    return Profile(
        data=str(path),
        backbone=backbone,
        weights=weights,
        size_px=size,
        seed=seed,
        validation=validation,
        images=len(data.listing.samples),
        classes=data.classes,
        splits=_split_counts(data),
        health=health(data),
        size=size_of(labels_N, len(data.classes)),
        similarity=similarity(data.features[0].rows(trainable_N), seed=seed),
        probes=probes,
        seconds=Seconds(
            listing=listed - start,
            images=data.images_seconds,
            probes=perf_counter() - probes_start,
            total=perf_counter() - start,
        ),
    )


def _instruments(backbone: str, weights: str, size: int, seed: int) -> tuple[Instrument, ...]:
    """The ruler and the network to be fine-tuned, which may be the same, once it is sure that they can be built.

    Raises:
        BackboneError: an unknown network or a size it does not take, or weights that cannot be had.
    """
    preprocessing = BackbonePreprocessing(size=size, fit="crop")
    instruments = dict.fromkeys((ruler(), instrument(backbone, weights, preprocessing, seed=seed)))
    for each in instruments:
        build(each.backbone, each.weights, seed=each.seed, size=each.preprocess.size)
    return tuple(instruments)


def _split_counts(data: Dataset) -> dict[str, SplitCount]:
    counts: dict[str, SplitCount] = {}
    for name in ("train", "val", "test"):
        index_N = data.index(name)
        if len(index_N):
            counts_K = np.bincount(data.labels(index_N), minlength=len(data.classes)).tolist()
            per_class = dict(zip(data.classes, counts_K, strict=True))
            counts[name] = SplitCount(images=len(index_N), per_class=per_class)
    return counts
