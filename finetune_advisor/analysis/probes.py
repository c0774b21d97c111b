"""Linear classifiers at every stage of the backbone, judged on images they did not see.

Shapes: N images, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from finetune_advisor import logistic
from finetune_advisor.artifacts.profile import ProbeScore
from finetune_advisor.features import Features
from finetune_advisor.techniques.strategy import LinearProbe

IntArray = npt.NDArray[np.integer]


def probe_scores(
    features: Features,
    labels_N: IntArray,
    fold_N: IntArray,
    *,
    classes: int,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ProbeScore, ...]:
    """Cross-validated score of each stage, of what the classifier sees, and of all stages together.

    The strengths tried are those of the `linear_probe` technique, so that a run repeats what is measured here.
    """
    strengths = LinearProbe().strengths
    places = (*features.places, "all")
    scores = []
    for done, place in enumerate(places):
        if progress is not None:
            progress(done, len(places))
        result = logistic.cross_validate(
            features.stage(place), labels_N, fold_N, strengths=strengths, classes=classes, device=device
        )
        scores.append(_score(place, result))
    return tuple(scores)


def _score(place: str, result: logistic.CrossValidation) -> ProbeScore:
    best = result.best()
    fold_accuracies = result.fold_accuracies(best)
    return ProbeScore(
        stage=place,
        accuracy=float(result.accuracies()[best]),
        std=float(fold_accuracies.std(ddof=1) / np.sqrt(len(fold_accuracies))),
        log_loss=float(result.losses()[best]),
        strength=result.strengths[best],
    )
