"""Finished models that may become one: what they have to agree in, and what they say of the same images.

Shapes: M members, N images, K classes, M networks, B of them together, C channels, H height, W width.
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
from finetune_advisor.errors import RunError
from finetune_advisor.inference.predictor import BATCH
from finetune_advisor.loading.batches import eval_batches, normalize
from finetune_advisor.metrics import softmax
from finetune_advisor.records.predictions import Answers
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.text import counted, listed

FEWEST_HELD_OUT = 8
"""Held-out images that all members have answered; with fewer there is nothing to choose by."""


@dataclass(frozen=True)
class Member:
    """A finished model with its answers on images that did not train it."""

    name: str
    source: Path
    """The run it is from."""
    model: Path
    """Folder of its `config.json` and `model.safetensors`."""
    held_out: Answers


@dataclass(frozen=True)
class HeldOut:
    """The answers of all members on the held-out images that they share."""

    names: tuple[str, ...]
    labels_N: npt.NDArray[np.integer]
    probabilities_MNK: npt.NDArray[np.floating]


def shared_held_out(members: Sequence[Member]) -> HeldOut:
    """Answers in one order of images and classes.

    Raises:
        RunError: the members know other classes, label an image differently, or share too few held-out images.
    """
    first = members[0].held_out
    for member in members[1:]:
        _require_same_classes(members[0], member)
    places = [{name: place for place, name in enumerate(member.held_out.names)} for member in members]
    names = [name for name in first.names if all(name in place for place in places[1:])]
    if len(names) < FEWEST_HELD_OUT:
        raise RunError(
            f"The members share {counted(len(names), 'held-out image')}, expected at least {FEWEST_HELD_OUT}.",
            "Train them on the same images with the same split: `ensemble RUN` does.",
        )
    labels_N = first.labels_N[[places[0][name] for name in names]]
    rows = [[place[name] for name in names] for place in places]
    for member, row in zip(members, rows, strict=True):
        differing = np.flatnonzero(member.held_out.labels_N[row] != labels_N)
        if len(differing):
            raise RunError(
                f"{members[0].name} and {member.name} label images differently: {listed(names[n] for n in differing)}."
            )
    stacked = np.stack([member.held_out.probabilities_NK[row] for member, row in zip(members, rows, strict=True)])
    return HeldOut(tuple(names), labels_N, stacked)


def _require_same_classes(first: Member, other: Member) -> None:
    if other.held_out.classes == first.held_out.classes:
        return
    missing = sorted(set(first.held_out.classes) ^ set(other.held_out.classes))
    what = f"only one of them knows {listed(missing)}" if missing else "they are in another order"
    raise RunError(
        f"{first.source} and {other.source} have different classes: {what}.",
        "Members of an ensemble answer the same question: train them on the same images.",
    )


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
