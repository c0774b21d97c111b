"""The verb: images -> Profile. It measures and holds no opinion; the advice draws the conclusions.

What was measured before is remembered: of unchanged data only the files are read again, and torch is not even loaded.
Under torchrun all processes look at the images; the main one does the rest, and the others wait for its profile.

Shapes: K classes, T trainable images.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from finetune_advisor import processes
from finetune_advisor.analysis.health import health
from finetune_advisor.analysis.leakage import fold_leak
from finetune_advisor.analysis.learning_curve import Curve, learning_curve
from finetune_advisor.analysis.probes import Probed, probe
from finetune_advisor.analysis.request import LIMIT, Progress, Request, Watch
from finetune_advisor.analysis.similarity import similarity
from finetune_advisor.analysis.speed import speed_of
from finetune_advisor.analysis.view_effects import views
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.bundled import RULER
from finetune_advisor.backbones.devices import AUTO, torch_device
from finetune_advisor.backbones.weights import default_weights, find_weights
from finetune_advisor.backbones.wrappers.stage_probe import POOLED
from finetune_advisor.dataset import TRAINABLE, Dataset, open_dataset
from finetune_advisor.features.extract import Features, Instrument, instrument, measure, ruler
from finetune_advisor.images.color_statistics import value_scale
from finetune_advisor.images.decode import decoder_key
from finetune_advisor.images.decode import digests as content_digests
from finetune_advisor.images.sample import stratified_sample
from finetune_advisor.images.sources import Listing, open_source, require_trainable
from finetune_advisor.images.split import split
from finetune_advisor.processes import default_workers
from finetune_advisor.records.facts import legible
from finetune_advisor.records.health import FoldLeak, ValueScale
from finetune_advisor.records.profile import Profile, Sampled, Seconds, Size, SplitCount
from finetune_advisor.storage.cache import Memory
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing
from finetune_advisor.techniques.strategy import LinearProbe

FORMAT = 6
"""Raised when an analysis of the same data would come out otherwise than before."""


def profile_memory(*question: object) -> Memory[Profile]:
    """The memory of an analysis, by everything that its result depends on, as values with a stable `repr`."""
    return Memory.of("profiles", Profile, FORMAT, *question, costs="fits the linear classifiers")


__all__ = ["LIMIT", "analyze"]


def analyze(
    data: str | Path | Listing,
    *,
    group: str | None = None,
    backbone: str = RULER,
    weights: str | None = None,
    size: int = 224,
    validation: float = 0.2,
    seed: int = 0,
    limit: int = LIMIT,
    device: str = AUTO,
    use_cache: bool = True,
    progress: Progress | None = None,
    probe_progress: Progress | None = None,
    view_progress: Progress | None = None,
) -> Profile:
    """Measure a data set: how much there is, how similar to ImageNet, how healthy, and what probes score.

    Test images, where the data has a test split, serve only the health checks.

    Args:
        data: a folder of class folders, or one with `train/` and optionally `val/` and `test/`; a CSV, TSV or Parquet
            manifest; an archive; `hf:NAME`. See `open_source`.
        group: column of a manifest whose values never straddle a split or a fold.
        backbone: the timm network to be fine-tuned; similarity is always measured with the ruler.
        weights: `bundled`, `hub`, `random` or a file; None is `bundled` where a package here has them, else `hub`.
        size: side of the network's input, in pixels.
        validation: share of the training images to hold out, where the data has no validation split.
        seed: seeds the split, the folds and the bootstrap.
        limit: most images to look at; of more, a stratified sample is taken.
        device: `auto`, or a torch device.
        use_cache: False measures every image again.
        progress, probe_progress, view_progress: called with (done, to do) while images are measured, probes fitted, and
            some images seen another way.

    Raises:
        DataError: the data cannot be used.
        BackboneError: an unknown network, or weights that cannot be had.
        OtherProcessEnded: under torchrun, another process failed.
    """
    start = perf_counter()
    listing = data if isinstance(data, Listing) else open_source(data, group=group)
    require_trainable(listing)
    sample = stratified_sample(listing, limit, seed=seed)
    request = Request(
        backbone=backbone,
        weights=weights or default_weights(backbone),
        size=size,
        validation=validation,
        seed=seed,
        device=device,
        use_cache=use_cache,
    )
    listed = perf_counter()
    memory = _memory(listing, sample, request) if use_cache and processes.is_main() else None
    known = processes.from_main(memory.recall() if memory else None)
    if known is None:
        known = _measured(listing, sample, request, Watch(progress, probe_progress, view_progress))
        if memory:
            memory.keep(known)
    seconds = known.seconds.model_copy(update={"listing": listed - start, "total": perf_counter() - start})
    source = listing.source if isinstance(data, Listing) else str(data)
    reading = listing.reading
    asked = {
        "group": group or reading.group or listing.group_column,
        "path_column": reading.path_column,
        "label_column": reading.label_column,
        "merge_classes": reading.merge_classes,
        "class_folders": reading.class_folders,
    }
    return known.model_copy(update={"data": source, "seconds": seconds, **asked})


def _measured(listing: Listing, sample: Listing, request: Request, watch: Watch) -> Profile:

    profile = None
    if processes.is_main():
        profile = measured_profile(listing, sample, request, watch)
    elif request.use_cache:
        look_at_share(sample, request)
    profile = processes.from_main(profile)
    assert profile is not None, "the main process has one"
    return profile


def _memory(listing: Listing, sample: Listing, request: Request) -> Memory[Profile]:
    digests, unopened = content_digests([each.path for each in sample.samples])
    found = find_weights(request.backbone, request.weights, seed=request.seed)
    names = [(each.name, each.label, each.split, each.group) for each in listing.samples]
    return profile_memory(
        request.settings(),
        found.digest,
        listing.classes,
        names,
        listing.ignored,
        listing.notes,
        len(sample.samples),
        digests,
        unopened,
        decoder_key(),
    )


def size_of(counts_K: npt.NDArray[np.integer], *, curve: Curve | None = None) -> Size:
    """Trainable images, a class and an effective class, and how a probe learns from parts of them.

    Args:
        counts_K: trainable images of each class in the whole listing, each at least one, also where only a sample of
            them was looked at.
        curve: what `learning_curve` found.
    """
    share_K = counts_K / counts_K.sum()
    return Size(
        images=int(counts_K.sum()),
        per_class=float(counts_K.mean()),
        effective_classes=float(np.exp(-(share_K * np.log(share_K)).sum())),
        smallest_class=int(counts_K.min()),
        learning_curve=curve.points if curve else (),
        power_law=curve.power_law if curve else None,
        forecast=curve.forecast if curve else None,
    )


FloatArray = npt.NDArray[np.floating]


def measured_profile(listing: Listing, sample: Listing, request: Request, watch: Watch) -> Profile:
    """Look at the images of `sample` and measure everything a profile holds.

    Args:
        listing: all images, which are counted.
        sample: those of them that are looked at.
        request: the settings.
        watch: told about progress.

    Raises:
        DataError, BackboneError: see `analyze`.
    """
    start = perf_counter()
    device = torch_device(request.device)
    scale = _scale(sample)
    instruments = _instruments(request, scale)
    data = open_dataset(
        sample,
        instruments,
        validation=request.validation,
        seed=request.seed,
        device=device,
        workers=_workers(),
        value_range=scale.range if scale else None,
        use_cache=request.use_cache,
        progress=watch.images,
    )
    probes_start = perf_counter()
    everything = data.listing if sample is listing else _divided(listing, request, data)
    counts = _split_counts(everything)
    counts_K = np.array(
        [sum(counts[name].per_class[legible(each)] for name in TRAINABLE if name in counts) for each in data.classes]
    )
    trainable_N = data.index(*TRAINABLE)
    learned = _Learning.of(data, trainable_N, request, device, watch, images=int(counts_K.sum()))
    found = health(data, probabilities_TK=learned.probabilities_TK, leak=learned.leak, values=scale)
    views_start = perf_counter()
    effects = views(
        data,
        instruments,
        found,
        seed=request.seed,
        device=device,
        use_cache=request.use_cache,
        progress=watch.views,
    )
    views_seconds = perf_counter() - views_start
    return Profile(
        data=listing.source,
        backbone=request.backbone,
        weights=request.weights,
        size_px=request.size,
        seed=request.seed,
        validation=request.validation,
        images=len(everything.samples),
        sampled=None if sample is listing else Sampled(images=len(sample.samples), of=len(listing.samples)),
        classes=data.classes,
        contents=data.contents,
        groups=data.groups,
        splits=counts,
        health=found,
        size=size_of(counts_K, curve=learned.curve),
        similarity=similarity(data.features[0].rows(trainable_N), seed=request.seed),
        probes=learned.probed.scores,
        views=effects,
        speed=speed_of(instruments[-1], [each.path for each in data.listing.samples], device=device),
        seconds=Seconds(
            listing=0.0,
            images=data.images_seconds,
            probes=perf_counter() - probes_start - views_seconds,
            views=views_seconds,
            total=perf_counter() - start,
        ),
    )


def look_at_share(sample: Listing, request: Request) -> None:
    """What a process beside the main one does of `measured_profile`: its share of the images, into the cache.

    Raises:
        OtherProcessEnded: another process failed.
    """
    scale = _scale(sample)
    measure(
        [each.path for each in sample.samples],
        _instruments(request, scale),
        device=torch_device(request.device),
        workers=_workers(),
        value_range=scale.range if scale else None,
    )


def _scale(sample: Listing) -> ValueScale | None:
    """Of the images to train on, those included from which validation images will be drawn."""
    return value_scale([each.path for each in sample.samples if each.split in (None, "train")])


def _workers() -> int:
    return default_workers(sharing=processes.local_world_size())


@dataclass(frozen=True)
class _Learning:
    """What linear classifiers say of the trainable images."""

    probed: Probed
    curve: Curve
    leak: FoldLeak
    probabilities_TK: FloatArray | None
    """Out of fold, from the pooled features; None where only a sample of the images was used."""

    @staticmethod
    def of(
        data: Dataset, trainable_N: npt.NDArray[np.intp], request: Request, device: str, watch: Watch, *, images: int
    ) -> _Learning:
        labels_T, family_T, classes = data.labels(trainable_N), data.family_N[trainable_N], len(data.classes)
        features = data.features[-1].rows(trainable_N)
        fold_T = data.folds(trainable_N, folds=LinearProbe().folds, seed=request.seed)
        probed = probe(
            features, labels_T, fold_T, family_N=family_T, classes=classes, device=device, progress=watch.probes
        )
        best = probed.best
        curve = learning_curve(
            lambda index_N: features.rows(index_N).stage(best.stage),
            labels_T,
            family_N=family_T,
            classes=classes,
            strength=best.strength,
            images=images,
            seed=request.seed,
            device=device,
        )
        every_image = len(probed.index_N) == len(trainable_N)
        return _Learning(
            probed,
            curve,
            _leak(features.rows(probed.index_N), labels_T, family_T, probed, classes, request, device),
            probed.probabilities_NK[POOLED] if every_image else None,
        )


def _leak(
    features: Features,
    labels_T: npt.NDArray[np.intp],
    family_T: npt.NDArray[np.intp],
    probed: Probed,
    classes: int,
    request: Request,
    device: str,
) -> FoldLeak:
    settings = LinearProbe()
    return fold_leak(
        features.stage(probed.best.stage),
        labels_T[probed.index_N],
        family_T[probed.index_N],
        middle_ND=features.stage(features.stages[len(features.stages) * 2 // 3]),
        accuracy_together=probed.best.accuracy,
        strengths=settings.strengths,
        classes=classes,
        folds=settings.folds,
        seed=request.seed,
        device=device,
    )


def _instruments(request: Request, scale: ValueScale | None) -> tuple[Instrument, ...]:
    """The ruler and the network to be fine-tuned, which may be the same, once it is sure that they can be built.

    Raises:
        BackboneError: an unknown network or a size it does not take, or weights that cannot be had.
    """
    value_range = scale.range if scale else None
    preprocessing = BackbonePreprocessing(size=request.size, fit="crop", value_range=value_range)
    trained = instrument(request.backbone, request.weights, preprocessing, seed=request.seed)
    instruments = tuple(dict.fromkeys((ruler(value_range), trained)))
    for each in instruments:
        build(each.backbone, each.weights, seed=each.seed, size=each.preprocess.size)
    return instruments


def _divided(listing: Listing, request: Request, data: Dataset) -> Listing:
    """All images with their splits, less those of the sample that cannot be read."""
    kept = tuple(sample for sample in listing.samples if sample.name not in data.bad_files)
    return split(replace(listing, samples=kept), validation=request.validation, seed=request.seed)


def _split_counts(listing: Listing) -> dict[str, SplitCount]:
    counts: dict[str, SplitCount] = {}
    for name in ("train", "val", "test"):
        part = Counter(sample.label for sample in listing.samples if sample.split == name)
        if part:
            per_class = {each: part[label] for label, each in enumerate(listing.classes)}
            counts[name] = SplitCount(images=part.total(), per_class=per_class)
    return counts
