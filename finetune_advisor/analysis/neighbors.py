"""Distances to nearest neighbors in standardized features, in bounded memory.

Shapes: N images, Q images asked for, D features, R rows at once, n neighbors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.logistic import Standardizer

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
