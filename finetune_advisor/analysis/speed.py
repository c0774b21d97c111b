"""How fast the network runs forward and backward here, stage by stage.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.backbones.devices import synchronize
from finetune_advisor.features.extract import Instrument
from finetune_advisor.loading.augmented import eval_views
from finetune_advisor.loading.batches import normalize
from finetune_advisor.records.facts import Speed

TIMED, TIMED_ON_GPU = 4, 32
"""Images that are timed: on a CPU so few already take as long each as a whole batch does."""

TURNS = 6
"""Times that the batch goes through; the first one warms up, and of the others the fastest counts: what else the
machine does at the moment only ever adds to it."""


def speed_of(trained: Instrument, paths: Sequence[Path], *, device: str) -> Speed | None:
    """Time decoding, and a forward and a backward pass through the whole network, on the first readable images.

    Takes about as long as a step of training or two.

    Args:
        trained: the network to be fine-tuned and its input.
        paths: readable images.
        device: torch device.

    Returns:
        None where the images cannot be read any more.
    """
    count = min(len(paths), TIMED if device == "cpu" else TIMED_ON_GPU)
    start = perf_counter()
    with closing(eval_views(paths[:count], [trained.preprocess], batch=count, workers=0)) as stream:
        view = next(stream)
    decoding = (perf_counter() - start) / count
    if not len(view.index_B):
        return None
    backbone = build(trained.backbone, trained.weights, seed=trained.seed, size=trained.preprocess.size)
    backbone.net.to(torch.device(device), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    x_BCHW = normalize(view.pixels[trained.preprocess].to(device), trained.preprocess)
    turns = [_turn(backbone, x_BCHW) for _ in range(TURNS)][1:]
    forward = {name: min(turn[0][name] for turn in turns) / len(x_BCHW) for name in turns[0][0]}
    backward = min(turn[1] for turn in turns) / len(x_BCHW)
    return Speed(device=device, forward=forward, backward=backward / sum(forward.values()), decoding=decoding)


def _turn(backbone: Backbone, x_BCHW: Tensor) -> tuple[dict[str, float], float]:
    """Seconds of each stage forward, and of all of them backward."""
    ends: list[float] = []

    def note(*_: object) -> None:
        synchronize(x_BCHW.device)
        ends.append(perf_counter())

    modules = [backbone.net.get_submodule(stage.end) for stage in backbone.stages[:-1]]
    hooks = [module.register_forward_hook(note) for module in modules]
    note()
    try:
        loss = _scalar(backbone.net, x_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    note()
    loss.backward()
    note()
    backbone.net.zero_grad(set_to_none=True)
    seconds = [later - earlier for earlier, later in pairwise(ends)]
    assert len(seconds) == len(backbone.stages) + 1, "every stage ends once"
    return {stage.name: value for stage, value in zip(backbone.stages, seconds, strict=False)}, seconds[-1]


def _scalar(net: nn.Module, x_BCHW: Tensor) -> Tensor:
    """Something to go backward from that depends on every output."""
    logits_BK: Tensor = net(x_BCHW)
    return logits_BK.float().logsumexp(dim=1).mean()
