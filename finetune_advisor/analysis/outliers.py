"""Images unlike all others of the data set, by the distance to their nearest neighbors.

Source: Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining outliers from large data sets", SIGMOD 2000.

Shapes: N images, Q images asked for, D features, R rows at once, n neighbors.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from finetune_advisor.probes.logistic import Standardizer

WORKING_FLOATS = 2**23
"""Distances held at once (32 MiB, several times while they are sorted)."""


def nearest(
    features_ND: npt.NDArray[np.floating],
    neighbors: int,
    *,
    family_N: npt.NDArray[np.integer] | None = None,
    query_Q: npt.NDArray[np.intp] | None = None,
) -> npt.NDArray[np.float64]:
    """Distances of each image to its nearest others, nearest first (Q, n); infinite where there are not so many.

    Args:
        features_ND: raw features, standardized here.
        neighbors: n.
        family_N: relatives of an image, those with its family, are not counted. None: only the image itself is not.
        query_Q: places of the images to ask for; None asks for all.
    """
    count = len(features_ND)
    family_N = np.arange(count) if family_N is None else np.asarray(family_N)
    query_Q = np.arange(count) if query_Q is None else query_Q
    rows = max(1, WORKING_FLOATS // count)
    x_ND = Standardizer.of(features_ND).apply(features_ND)
    square_N = np.einsum("nd,nd->n", x_ND, x_ND)
    nearest_Qn = np.full((len(query_Q), neighbors), np.inf)
    kept = min(neighbors, count)
    for start in range(0, len(query_Q), rows):
        places_R = query_Q[start : start + rows]
        squared_RN = square_N[places_R, None] + square_N - 2 * (x_ND[places_R] @ x_ND.T)
        squared_RN[family_N[places_R, None] == family_N] = np.inf
        smallest_Rn = np.sort(np.partition(squared_RN, kept - 1, axis=1)[:, :kept], axis=1)
        nearest_Qn[start : start + rows, :kept] = np.sqrt(np.maximum(smallest_Rn, 0))
    return nearest_Qn


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
