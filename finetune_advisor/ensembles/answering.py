"""Several networks asked about the same images, each decoded once, and how long each takes.

Shapes: M networks, N images, B of them together, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from finetune_advisor.backbones.devices import synchronize
from finetune_advisor.data.batches import eval_batches, normalize
from finetune_advisor.errors import RunError
from finetune_advisor.inference import BATCH
from finetune_advisor.metrics import softmax
from finetune_advisor.techniques.preprocessing.settings import Preprocess


@dataclass(frozen=True)
class Asked:
    """What networks answer, and the seconds that each needs for an image, decoding aside."""

    probabilities_MNK: npt.NDArray[np.floating]
    seconds_M: npt.NDArray[np.float64]


def ask(
    nets: Sequence[nn.Module], preprocess: Preprocess, paths: Sequence[Path], *, device: str, workers: int
) -> Asked:
    """The answers of networks with the same preprocessing.

    The time is the median over the batches, of which the first one goes through each network twice more.

    Raises:
        RunError: an image cannot be read any more.
    """
    place = torch.device(device)
    seconds: list[list[float]] = [[] for _ in nets]
    parts: list[list[npt.NDArray[np.floating]]] = [[] for _ in nets]
    for number, (_, x_BCHW, bad) in enumerate(eval_batches(paths, preprocess, batch=BATCH, workers=workers)):
        if bad:
            at, reason = bad[0]
            raise RunError(f"{paths[at]} cannot be read any more: {reason}")
        x_BCHW = normalize(x_BCHW.to(place), preprocess)
        for index, net in enumerate(nets):
            timed = [_timed(net, x_BCHW, place) for _ in range(3 if number == 0 else 1)]
            seconds[index] += [taken / len(x_BCHW) for _, taken in timed]
            parts[index].append(softmax(timed[0][0]))
    return Asked(np.stack([np.concatenate(part) for part in parts]), np.median(seconds, axis=1))


def _timed(net: nn.Module, x_BCHW: torch.Tensor, device: torch.device) -> tuple[npt.NDArray[np.float32], float]:
    synchronize(device)
    start = perf_counter()
    with torch.inference_mode():
        logits_BK = net(x_BCHW).float().cpu().numpy()
    synchronize(device)
    return logits_BK, perf_counter() - start
