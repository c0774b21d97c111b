"""What is wrong with the files: the one fact that looks at test images too.

Shapes: N samples of the listing, T of them trainable, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from finetune_advisor.analysis.label_errors import label_suspects
from finetune_advisor.analysis.outliers import outliers
from finetune_advisor.dataset import TRAINABLE, Dataset
from finetune_advisor.images import health as checks
from finetune_advisor.images.alignment import too_small
from finetune_advisor.images.decode import read_image
from finetune_advisor.records.health import (
    BadFile,
    BlankImage,
    FoldLeak,
    Health,
    ImageSizes,
    Imbalance,
    LabelSuspect,
    NearDuplicates,
    OddImage,
    Outlier,
    SplitLeak,
    Tones,
    ValueScale,
)

MANY_ODD = 1000
"""Odd or blank images that are named at most, so that a profile stays small."""

LEVELS_IMAGES = 50
"""Images whose gray levels are counted: whether most of a data set has few shows in these."""


def health(
    data: Dataset,
    *,
    probabilities_TK: npt.NDArray[np.floating] | None = None,
    leak: FoldLeak | None = None,
    values: ValueScale | None = None,
) -> Health:
    """Bad files, copies and where they cross, odd and blank images, label suspects, outliers, imbalance.

    Labels of test images serve only to say which copies contradict each other.

    Args:
        probabilities_TK: out-of-fold probabilities of the trainable images, in the listing's order; None names no
            label suspects.
        leak: what `fold_leak` found.
        values: what `value_scale` found.
    """
    names = [sample.name for sample in data.listing.samples]
    split_of = {sample.name: str(sample.split) for sample in data.listing.samples}
    label_of = {sample.name: data.classes[sample.label] for sample in data.listing.samples}
    across_splits, across_classes = (
        checks.copies_across(names, data.digests, data.pairs, side_of) for side_of in (split_of, label_of)
    )
    return Health(
        bad_files=tuple(BadFile(path=name, reason=reason) for name, reason in data.bad_files.items()),
        ignored_files=data.listing.ignored,
        notes=data.listing.notes,
        exact_duplicates=checks.exact_duplicates(names, data.digests),
        near_duplicates=tuple(
            NearDuplicates(images=group.names, correlation=group.correlation)
            for group in checks.near_duplicate_groups(names, data.digests, data.pairs)
        ),
        near_duplicates_unchecked=int(too_small(data.looks).sum()),
        duplicates_across_splits=across_splits,
        split_leak=_split_leak(data),
        duplicates_across_classes=across_classes,
        label_suspects=_suspects(data, probabilities_TK),
        outliers=_outliers(data, names, label_of),
        odd_images=_odd_images(data, names),
        blank_images=_blank_images(data, names, values),
        tones=_tones(data, values),
        sizes=_sizes(data),
        color_modes=checks.color_modes(data.looks),
        values=values,
        leak=leak,
        imbalance=_imbalance(data),
    )


def _split_leak(data: Dataset) -> SplitLeak | None:
    """What a run of these splits will report, counted in the split whose score is the last word."""
    splits = ("test", "val", "train")
    for judged, *trained in (splits, splits[1:]):
        if groups := data.leaking(judged, trained=trained):
            break
    else:
        return None
    digest_of = {sample.name: digest for sample, digest in zip(data.listing.samples, data.digests, strict=True)}
    split_of = {sample.name: str(sample.split) for sample in data.listing.samples}
    found = Counter(split_of[name] for group in groups for name in group.names if split_of[name] in trained)
    other = max(found, key=lambda split: (found[split], split))
    shown = next(group.names for group in groups if any(split_of[name] == other for name in group.names))
    first, second = (next(name for name in shown if split_of[name] == split) for split in (other, judged))
    return SplitLeak(
        groups=len(groups),
        identical=sum(len({digest_of[name] for name in group.names}) == 1 for group in groups),
        own=sum(group.own for group in groups),
        splits=(other, judged),
        images=len({name for group in groups for name in group.names if split_of[name] == judged}),
        example=(first, second),
    )


def _suspects(data: Dataset, probabilities_TK: npt.NDArray[np.floating] | None) -> tuple[LabelSuspect, ...]:
    if probabilities_TK is None:
        return ()
    trainable_T = data.index(*TRAINABLE)
    samples = data.samples(trainable_T)
    return tuple(
        LabelSuspect(
            path=samples[suspect.place].name,
            label=data.classes[samples[suspect.place].label],
            suggestion=data.classes[suspect.suggestion],
            label_probability=suspect.label_probability,
            suggestion_probability=suspect.suggestion_probability,
        )
        for suspect in label_suspects(probabilities_TK, data.labels(trainable_T))
    )


def _outliers(data: Dataset, names: list[str], label_of: Mapping[str, str]) -> tuple[Outlier, ...]:
    """By what the ruler sees last, so that they are the same whatever is trained."""
    found = outliers(data.features[0].stage("pooled"), family_N=data.family_N)
    return tuple(
        Outlier(path=names[place], label=label_of[names[place]], distance=distance) for place, distance in found
    )


def _odd_images(data: Dataset, names: list[str]) -> tuple[OddImage, ...]:
    found = list(checks.odd_images(data.looks).items())[:MANY_ODD]
    return tuple(OddImage(path=names[place], reason=reason) for place, reason in found)


def _blank_images(data: Dataset, names: list[str], values: ValueScale | None) -> tuple[BlankImage, ...]:
    """A thumbnail averages fine texture away, so those that look blank are read again."""
    return tuple(
        BlankImage(path=names[place], reason=color)
        for place in checks.perhaps_blank(data.looks)[:MANY_ODD].tolist()
        if (color := checks.blank_color(_pixels(data, place, values))) is not None
    )


def _tones(data: Dataset, values: ValueScale | None) -> Tones:
    images = len(data.listing.samples)
    sample = np.unique(np.linspace(0, images - 1, min(images, LEVELS_IMAGES)).astype(int)).tolist()
    levels = [checks.gray_levels(_pixels(data, place, values)) for place in sample]
    return Tones(
        images=images,
        dark=len(checks.dark_images(data.looks)),
        levels_images=len(levels),
        few_levels=sum(1 < each <= checks.FEW_LEVELS for each in levels),
        levels=int(np.median(levels)),
    )


def _pixels(data: Dataset, place: int, values: ValueScale | None) -> npt.NDArray[np.uint8]:
    """The image as RGB (H, W, 3), on the scale of the data set, as all other measures see it."""
    path = data.listing.samples[place].path
    return np.asarray(read_image(path, value_range=values.range if values else None))


def _sizes(data: Dataset) -> ImageSizes:
    sizes = checks.image_sizes(data.looks)
    return ImageSizes(
        shorter_side=sizes.shorter_side,
        aspect=sizes.aspect,
        off_square=sizes.off_square,
        kept_by_crop=sizes.kept_by_crop,
    )


def _imbalance(data: Dataset) -> Imbalance:
    counts_K = np.bincount(data.labels(data.index(*TRAINABLE)), minlength=len(data.classes))
    return Imbalance(
        largest=data.classes[int(counts_K.argmax())],
        smallest=data.classes[int(counts_K.argmin())],
        ratio=checks.imbalance(counts_K.tolist()),
    )
