"""What is wrong with the files: the one fact that looks at test images too."""

from __future__ import annotations

import numpy as np

from finetune_advisor.artifacts.profile import BadFile, Health, Imbalance
from finetune_advisor.data import health as checks
from finetune_advisor.dataset import TRAINABLE, Dataset


def health(data: Dataset) -> Health:
    """Bad files, exact duplicates and where they cross, imbalance of the trainable part."""
    names = [sample.name for sample in data.listing.samples]
    duplicates = checks.exact_duplicates(names, data.digests)
    split_of = {sample.name: str(sample.split) for sample in data.listing.samples}
    label_of = {sample.name: data.classes[sample.label] for sample in data.listing.samples}
    crossing = checks.crossing(duplicates, split_of, label_of)
    return Health(
        bad_files=tuple(BadFile(path=name, reason=reason) for name, reason in data.bad_files.items()),
        ignored_files=data.listing.ignored,
        exact_duplicates=duplicates,
        duplicates_across_splits=crossing.splits,
        duplicates_across_classes=crossing.classes,
        imbalance=_imbalance(data),
    )


def _imbalance(data: Dataset) -> Imbalance:
    counts_K = np.bincount(data.labels(data.index(*TRAINABLE)), minlength=len(data.classes))
    return Imbalance(
        largest=data.classes[int(counts_K.argmax())],
        smallest=data.classes[int(counts_K.argmin())],
        ratio=checks.imbalance(counts_K.tolist()),
    )
