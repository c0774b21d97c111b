"""The frozen network as an instrument: one forward pass gives every stage's statistics and the logits.

Shapes: B batch, C channels, H height, W width, D pooled features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune_advisor.backbones.stages import (
    HEAD,
    Stage,
    classifier_modules,
    pool,
    pooled_feature,
    read_inputs,
    read_stages,
)
from finetune_advisor.backbones.wrappers.stage_probe import POOLED

if TYPE_CHECKING:
    from finetune_advisor.backbones.build import Backbone


@dataclass(frozen=True, slots=True)
class TrunkOutput:
    """What one forward pass says about B images; every tensor is float32 and on the trunk's device.

    `stages`: stage name -> (B, 2C), the mean and then the standard deviation of each channel at the stage's
    end, for every stage but the head. `pooled`: (B, D), what the classifier sees. `logits`: (B, K), None
    where the classifier is not a trained one. `norms`: stage name -> (B, 2C), the mean and then the variance
    over the image of each channel that enters the stage's last BatchNorm; empty unless asked for.
    """

    stages: dict[str, Tensor]
    pooled: Tensor
    logits: Tensor | None
    norms: dict[str, Tensor]

    def named(self) -> dict[str, Tensor]:
        """All readings in one dict, in a fixed order: `stage.<name>`, `norm.<name>`, `pooled`, `logits`."""
        named = {f"stage.{name}": values for name, values in self.stages.items()}
        named |= {f"norm.{name}": values for name, values in self.norms.items()}
        named[POOLED] = self.pooled
        return named if self.logits is None else {**named, "logits": self.logits}


class FrozenTrunk:
    """A backbone that is only read: no gradients, evaluation mode. Moves the net to `device`, channels last.

    On a GPU that has them, sums are of bfloat16 numbers (`precision`); what is read is float32 everywhere.
    """

    def __init__(self, backbone: Backbone, *, device: torch.device | str, norm_statistics: bool = False) -> None:
        self.backbone = backbone
        self.device = torch.device(device)
        self.precision = precision_on(self.device)
        self.stages = feature_stages(backbone.stages)
        self._norms = _norm_paths(backbone) if norm_statistics else {}
        self._classifier = classifier_modules(backbone.net)[0]
        backbone.net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def reads(self) -> str:
        """Everything there is to read."""
        return "everything"

    def __call__(self, x_BCHW: Tensor) -> TrunkOutput:
        """Run normalized images (B, C, H, W) through the net once."""
        self.backbone.net.eval()
        reduced = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced):
            return self.read(x_BCHW.to(self.device, memory_format=torch.channels_last))

    def named(self, x_BCHW: Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """What one pass over normalized images (B, C, H, W) reads, by the names of `TrunkOutput.named`."""
        return self.begin(x_BCHW)()

    def begin(self, x_BCHW: Tensor) -> Callable[[], dict[str, npt.NDArray[np.float32]]]:
        """Set off the pass of `named`; what is returned waits for its end. A GPU works on in between."""
        readings = self(x_BCHW).named()
        names, widths = list(readings), [values.shape[1] for values in readings.values()]
        # One copy from the device: each of dozens would wait for it.
        values_BD = torch.cat(list(readings.values()), dim=1)

        def end() -> dict[str, npt.NDArray[np.float32]]:
            parts = np.split(values_BD.cpu().numpy(), np.cumsum(widths)[:-1], axis=1)
            return dict(zip(names, parts, strict=True))

        return end

    def readings(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """What `read` reads, by the names of `TrunkOutput.named`."""
        return self.read(x_BCHW).named()

    def read(self, x_BCHW: Tensor) -> TrunkOutput:
        """The pass itself, as plain tensor code that can be traced; the net is in evaluation mode."""
        net = self.backbone.net
        with (
            read_stages(net, self.stages, reduce=pool) as stages,
            read_inputs(net, [self._classifier], reduce=pooled_feature) as inputs,
            read_inputs(net, self._norms.values(), reduce=_mean_and_variance) as norms,
        ):
            logits_BK = net(x_BCHW).float()
        return TrunkOutput(
            stages=stages,
            pooled=inputs[self._classifier],
            logits=None if self.backbone.new_head else logits_BK,
            norms={stage: norms[path] for stage, path in self._norms.items()},
        )


def precision_on(device: torch.device | str) -> str:
    """What a frozen network computes with on a device: `bfloat16` on GPUs that have it, else `float32`."""
    on_gpu = torch.device(device).type == "cuda"
    return "bfloat16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def feature_stages(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages whose ends are features; the head's end is the logits."""
    return tuple(stage for stage in stages if stage.name != HEAD)


def reference_norms(backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
    """Running mean and variance, (C,) each in float32, of the same layers as `TrunkOutput.norms`.

    They describe what the weights were trained on, so no image of that data is needed. Stages without
    BatchNorm are left out.
    """
    reference = {}
    for stage, path in _norm_paths(backbone).items():
        norm = backbone.net.get_submodule(path)
        assert isinstance(norm.running_mean, Tensor) and isinstance(norm.running_var, Tensor)
        reference[stage] = (norm.running_mean.float().clone(), norm.running_var.float().clone())
    return reference


def _norm_paths(backbone: Backbone) -> dict[str, str]:
    return {
        stage.name: stage.norm
        for stage in backbone.stages
        if stage.norm is not None and _tracks(backbone.net.get_submodule(stage.norm))
    }


def _tracks(norm: nn.Module) -> bool:
    return isinstance(getattr(norm, "running_mean", None), Tensor)


def _mean_and_variance(x_BCHW: Tensor) -> Tensor:
    variance_BC, mean_BC = torch.var_mean(x_BCHW.float(), dim=(2, 3), correction=0)
    return torch.cat([mean_BC, variance_BC], dim=1)
