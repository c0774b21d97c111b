"""How much there is to learn from.

Shapes: K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.analysis.learning_curve import Curve
from finetune_advisor.artifacts.profile import Size


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
