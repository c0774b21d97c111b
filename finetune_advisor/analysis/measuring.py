"""The measurements behind a profile, made when nothing of them is remembered.

Shapes: T trainable images, K classes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from finetune_advisor import processes
from finetune_advisor.analysis.health import health
from finetune_advisor.analysis.leak import fold_leak
from finetune_advisor.analysis.learning_curve import Curve, learning_curve
from finetune_advisor.analysis.probes import Probed, probe
from finetune_advisor.analysis.request import Request, Watch
from finetune_advisor.analysis.similarity import similarity
from finetune_advisor.analysis.size import size_of
from finetune_advisor.analysis.speed import speed_of
from finetune_advisor.analysis.views import views
from finetune_advisor.artifacts.facts import legible
from finetune_advisor.artifacts.health import FoldLeak, ValueScale
from finetune_advisor.artifacts.profile import Profile, Sampled, Seconds, SplitCount
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.backbones.stage_probe import POOLED
from finetune_advisor.data.sources import Listing
from finetune_advisor.data.split import split
from finetune_advisor.data.value_scale import value_scale
from finetune_advisor.data.workers import default_workers
from finetune_advisor.dataset import TRAINABLE, Dataset, open_dataset
from finetune_advisor.features import Features, measure
from finetune_advisor.instruments import Instrument, instrument, ruler
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing
from finetune_advisor.techniques.strategy import LinearProbe

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
