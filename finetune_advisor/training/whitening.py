"""The whitening of a run's images: fitted once to the training images, and kept until it is part of the model."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from finetune_advisor import processes
from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.backbones.whitened import Whitening
from finetune_advisor.data.pixel_covariance import pixel_covariance
from finetune_advisor.data.workers import workers_of
from finetune_advisor.techniques.preprocessing import PcaWhitening
from finetune_advisor.training.prepare import Prepared

log = logging.getLogger(__name__)


def fitted_whitening(prepared: Prepared, *, device: str, folder: Path | None) -> Whitening | None:
    """What goes in front of the network; None where the recipe does not whiten. The same in all processes.

    Args:
        folder: of this run alone, where it is found if it has been computed before; None keeps nothing.

    Raises:
        DataError: an image cannot be read any more.
        StorageError: the disk is full or refuses.
    """
    technique = prepared.recipe.preprocessing
    if not isinstance(technique, PcaWhitening):
        return None
    whitening, path = Whitening(3 * technique.size**2), _path(prepared, folder)
    if processes.is_main() and not _found(whitening, path):
        _fit(whitening, technique, prepared)
        if path is not None:
            atomic_write(path, save(whitening.state_dict()))
    whitening.to(device)
    processes.copy_from_main(whitening.state_dict().values())
    return whitening.eval()


def _fit(whitening: Whitening, technique: PcaWhitening, prepared: Prepared) -> None:
    data, numbers, workers = prepared.data, len(whitening.mean_D), workers_of(prepared.recipe.runtime.workers)
    train_N = data.index("train")
    if len(train_N) <= numbers:
        log.warning(
            "whitening: %d training images cannot vary in all %d directions of their pixels; where they do not, noise "
            "is multiplied by %.0f. Raise preprocessing.epsilon, or choose another preprocessing.kind",
            len(train_N),
            numbers,
            technique.epsilon**-0.5,
        )
    paths = [sample.path for sample in data.samples(train_N)]
    mean_D, covariance_DD = pixel_covariance(paths, prepared.preprocess, workers=workers)
    whitening.mean_D.copy_(torch.from_numpy(mean_D))
    whitening.matrix_DD.copy_(torch.from_numpy(technique.matrix(covariance_DD)))
    log.info("whitened: %d numbers of an image, by %d training images", numbers, len(paths))


def _path(prepared: Prepared, folder: Path | None) -> Path | None:
    """Named for what it depends on."""
    if folder is None:
        return None
    data = prepared.data
    seen = [data.digests[place] for place in data.index("train")]
    text = repr((prepared.preprocess.key(), prepared.recipe.preprocessing, seen))
    return folder / f"whitening-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.safetensors"


def _found(whitening: Whitening, path: Path | None) -> bool:
    if path is None or not path.is_file():
        return False
    try:
        whitening.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as problem:
        log.warning("%s is damaged and computed again: %s", path, problem)
        return False
    return True
