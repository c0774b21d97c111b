"""What the pixels of images have in common: their mean and the covariance between all of them.

Shapes: B images, C channels, H and W pixels, D = C * H * W numbers of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.data.batches import eval_batches, normalize
from finetune_advisor.data.sample import evenly_spaced
from finetune_advisor.errors import DataError
from finetune_advisor.techniques.preprocessing.settings import Preprocess

MOST_IMAGES = 50_000
"""That are looked at, as many as the slides took."""

BATCH = 64

FloatArray = npt.NDArray[np.float64]


def pixel_covariance(paths: Sequence[Path], preprocess: Preprocess, *, workers: int) -> tuple[FloatArray, FloatArray]:
    """Mean (D,) and covariance (D, D) of normalized images, or of evenly spaced ones of very many.

    Raises:
        DataError: one of them cannot be read any more, or a worker process died.
    """
    assert paths, "the pixels of nothing"
    some = [paths[index] for index in evenly_spaced(len(paths), MOST_IMAGES)]
    numbers = 3 * preprocess.size**2
    sum_D, square_DD = np.zeros(numbers), np.zeros((numbers, numbers))
    for _, x_BCHW, bad in eval_batches(some, preprocess, batch=BATCH, workers=workers):
        for place, reason in bad:
            raise DataError(f"{some[place]} cannot be read any more: {reason}.")
        x_BD = normalize(x_BCHW, preprocess).flatten(1).double().numpy()
        sum_D += x_BD.sum(axis=0)
        square_DD += x_BD.T @ x_BD
    mean_D = sum_D / len(some)
    return mean_D, square_DD / len(some) - np.outer(mean_D, mean_D)
