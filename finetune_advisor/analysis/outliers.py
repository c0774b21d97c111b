"""Images unlike all others of the data set, by their distance to their nearest neighbors.

Shapes: N images, D features.

Source: Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining outliers from large data sets", SIGMOD 2000.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from finetune_advisor.analysis.neighbors import nearest

NEIGHBORS = 5
"""Neighbors whose mean distance counts: one odd image has no near one, a small odd group of less than this neither."""

FAR = 4.0
"""Robust deviates of the logarithm of that distance from which an image is an outlier: 1 in 30,000 of a normal law."""

MUCH_FARTHER = 1.5
"""An outlier is also this many times farther from its neighbors than is usual: in some sets all are nearly alike."""

MOST = 0.01
"""At most this share of the images is named (one in any case): a part that is larger is not out of the ordinary."""

FEWEST = 20
"""With fewer images there is no usual distance."""


def outliers(
    features_ND: npt.NDArray[np.floating], *, family_N: npt.NDArray[np.integer] | None = None
) -> tuple[tuple[int, float], ...]:
    """Places of images far from all others, and their distance over the usual one, farthest first.

    Args:
        features_ND: raw features of what the classifier sees.
        family_N: family of each image; relatives are not counted as neighbors. None when every image stands alone.
    """
    count = len(features_ND)
    if count < FEWEST:
        return ()
    distance_N = nearest(features_ND, NEIGHBORS, family_N=family_N).mean(axis=1)
    if not np.isfinite(np.median(distance_N)):
        return ()
    log_N = np.log(np.maximum(distance_N, 1e-12))
    usual = float(np.median(log_N))
    deviation = 1.4826 * float(np.median(np.abs(log_N - usual)))
    far_N = (log_N - usual > FAR * deviation) & (log_N - usual > math.log(MUCH_FARTHER)) & np.isfinite(log_N)
    order = sorted(np.flatnonzero(far_N).tolist(), key=lambda place: -log_N[place])
    return tuple((place, float(np.exp(log_N[place] - usual))) for place in order[: max(1, int(MOST * count))])
