"""A trained network as one ONNX file that takes pixels and gives probabilities, and says what they mean.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune_advisor.backbones.export import GROUND, fill_color, steps, with_onnx
from finetune_advisor.backbones.inference_graph import BATCH, onnx_program, open_session, run_session
from finetune_advisor.backbones.stages import evaluation_mode
from finetune_advisor.techniques.preprocessing import Preprocess

INPUT, OUTPUT = "pixels", "probabilities"


def onnx_file(net: nn.Module, preprocess: Preprocess, classes: Sequence[str], *, details: Mapping[str, Any]) -> bytes:
    """A network with normalization before and softmax behind it, as a file that says how to use it.

    Its metadata holds `class_names`, `preprocessing`, `finetune_advisor` (`details`), each as JSON, and `example`, a
    program that predicts an image.

    Args:
        net: logits (B, K) of normalized images; on the CPU.
        details: what else a reader of the file should know, as JSON.

    Raises:
        NoGraph: it is too large for one file, or has an operation that ONNX does not.
    """
    example_BCHW = torch.zeros(2, 3, preprocess.size, preprocess.size, dtype=torch.uint8)
    with evaluation_mode(net):
        program = onnx_program(_FromPixels(net, preprocess).eval(), example_BCHW, inputs=[INPUT], outputs=[OUTPUT])
    metadata = {
        "class_names": json.dumps(list(classes)),
        "preprocessing": json.dumps(_described(preprocess)),
        "finetune_advisor": json.dumps(details),
        "example": with_onnx(preprocess),
    }
    for key, value in metadata.items():
        program.metadata_props.add(key=key, value=value)
    content: bytes = program.SerializeToString()
    return content


def answers_of(content: bytes, x_BCHW: Tensor) -> npt.NDArray[np.float32]:
    """The probabilities (B, K) that such a file gives in ONNX Runtime for pixels (B, C, H, W), uint8.

    Raises:
        NoGraph: ONNX Runtime cannot load or run it.
    """
    session = open_session(content)
    parts = [run_session(session, part_BCHW)[0] for part_BCHW in torch.split(x_BCHW, BATCH)]
    return np.concatenate(parts)


class _FromPixels(nn.Module):
    """Probabilities (B, K) of images as they were decoded, uint8 (B, C, H, W)."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, net: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean_C", 255 * torch.tensor(preprocess.mean).view(1, -1, 1, 1))
        self.register_buffer("std_C", 255 * torch.tensor(preprocess.std).view(1, -1, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.net((x_BCHW.float() - self.mean_C) / self.std_C)
        return logits_BK.softmax(dim=1)


def _described(p: Preprocess) -> dict[str, Any]:
    return {
        "input": f"{INPUT}: RGB, uint8, (images, 3, {p.size}, {p.size})",
        "output": f"{OUTPUT}: float32, (images, classes), in the order of class_names",
        "steps": [
            *steps(p),
            "leave the pixels as they are: normalization, (pixels / 255 - mean) / std, is part of the graph",
        ],
        "value_range": None if p.value_range is None else list(p.value_range),
        "ground": list(GROUND),
        "fill": list(fill_color(p)) if p.fit == "pad" else None,
        "size": p.size,
        "fit": p.fit,
        "crop_pct": p.crop_pct if p.fit == "crop" else None,
        "interpolation": p.interpolation,
        "mean": list(p.mean),
        "std": list(p.std),
    }
