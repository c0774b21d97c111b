"""Probe scores of an earlier analysis of the same images, so that the next one need not fit again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from finetune_advisor.artifacts.profile import ProbeScore
from finetune_advisor.artifacts.storage import atomic_write, cache_root
from finetune_advisor.errors import StorageError

FORMAT = 1
"""Raised when the meaning of a score or the way it is found changes."""

log = logging.getLogger(__name__)


def remembered(
    compute: Callable[[], tuple[ProbeScore, ...]],
    *,
    instrument: str,
    contents: Sequence[str],
    labels_N: npt.NDArray[np.integer],
    fold_N: npt.NDArray[np.integer],
    strengths: Sequence[float],
) -> tuple[ProbeScore, ...]:
    """The scores from the cache, or else computed and kept.

    Args:
        compute: fits the probes.
        instrument: key of the network and what it is shown.
        contents: digest of each image.
        labels_N, fold_N: class and fold of each image.
        strengths: the L2 strengths tried.
    """
    question = repr((FORMAT, instrument, list(contents), labels_N.tolist(), fold_N.tolist(), list(strengths)))
    path = cache_root() / "probes" / f"{hashlib.blake2b(question.encode(), digest_size=16).hexdigest()}.json"
    known = _read(path)
    if known:
        return known
    scores = compute()
    try:
        atomic_write(path, json.dumps([score.model_dump() for score in scores]))
    except StorageError as problem:
        log.warning("the next analysis fits the linear classifiers again: %s", problem.message)
    return scores


def _read(path: Path) -> tuple[ProbeScore, ...]:
    try:
        return tuple(ProbeScore.model_validate(values) for values in json.loads(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, ValidationError) as problem:
        log.warning("cached probe scores in %s cannot be used and are found again: %s", path, problem)
        return ()
