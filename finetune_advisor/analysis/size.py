"""How much there is to learn from.

Shapes: N images, K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.profile import Size


def size_of(labels_N: npt.NDArray[np.integer], classes: int) -> Size:
    """Trainable images, a class and an effective class; every class has at least one."""
    counts_K = np.bincount(labels_N, minlength=classes)
    share_K = counts_K / counts_K.sum()
    return Size(
        images=len(labels_N),
        per_class=float(counts_K.mean()),
        effective_classes=float(np.exp(-(share_K * np.log(share_K)).sum())),
        smallest_class=int(counts_K.min()),
    )
