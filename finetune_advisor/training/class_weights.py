"""How much each class counts in the loss.

Shapes: N images, K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def balanced(labels_N: npt.NDArray[np.integer], classes: int) -> npt.NDArray[np.float64]:
    """Weight of each class (K,) so that all classes count the same and the mean over the images is one."""
    counts_K = np.bincount(labels_N, minlength=classes)
    return np.asarray(len(labels_N) / (np.count_nonzero(counts_K) * np.maximum(counts_K, 1)))
