"""The part of a network below a boundary, which never learns: images in, the boundary stage's output out.

On a CPU it runs as an inference graph where that pays.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.calls import evaluation_mode
from finetune_advisor.backbones.inference_graph import InferenceGraph, do_without, open_graph_if_worth
from finetune_advisor.backbones.onnx_program import NoGraph
from finetune_advisor.backbones.readings import EnoughRead, read_stages
from finetune_advisor.backbones.stages import Stage
from finetune_advisor.data.batches import normalize
from finetune_advisor.techniques.preprocessing.settings import Preprocess


@dataclass
class FrozenPart:
    """A network up to the end of one of its stages, in evaluation mode and without gradients."""

    backbone: Backbone
    end: Stage
    preprocess: Preprocess
    precision: torch.dtype = torch.float32
    """Of the network as it is; an inference graph computes in float32."""
    graph: InferenceGraph | None = None

    @property
    def reads(self) -> str:
        """What an inference graph of it gives."""
        return f"end of {self.end.name}"

    @property
    def device(self) -> torch.device:
        return next(self.backbone.net.parameters()).device

    def readings(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """The stage's output of normalized images, by the stage's name.

        The whole network runs, because no tracer takes a pass that ends early; the graph drops what is not read.
        """
        with read_stages(self.backbone.net, [self.end]) as readings:
            self.backbone.net(x_BCHW)
        return readings

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """The stage's output (B, ...) in float32, on the CPU, of uint8 images (B, C, H, W)."""
        if self.graph is not None:
            try:
                return torch.from_numpy(self.graph(x_BCHW)[self.end.name])
            except NoGraph as reason:
                self.graph = None
                do_without(self.backbone.name, reason)
        reduced = self.precision != torch.float32
        with (
            evaluation_mode(self.backbone.net),
            torch.no_grad(),  # not inference_mode: the tail's layers keep this tensor for their gradients
            torch.autocast(self.device.type, self.precision, enabled=reduced),
        ):
            return self._read(normalize(x_BCHW.to(self.device), self.preprocess)).float().cpu()

    def _read(self, x_BCHW: Tensor) -> Tensor:
        """The pass ends at the stage."""
        net, end = self.backbone.net, self.end
        with read_stages(net, [end], stop_after=end) as readings, suppress(EnoughRead):
            net(x_BCHW)
        return readings[end.name]

    def as_graph(self, x_BCHW: Tensor, *, images: int) -> FrozenPart:
        """The same as an inference graph, where the device and so many images make that worth it.

        Args:
            x_BCHW: some images, uint8, for a comparison of graph and network.
            images: that are going to be shown to it.
        """
        if self.device.type != "cpu":
            return self
        p = self.preprocess
        graph = open_graph_if_worth(self, x_BCHW, mean=p.mean, std=p.std, images=images)
        return FrozenPart(self.backbone, self.end, p, self.precision, graph)
