"""A linear classifier on the features of several stages, as a network that timm can open.

timm has no shape for it, so `import finetune_advisor` registers it.

Shapes: B batch, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.at_size import create_at_size, default_cfg
from finetune_advisor.backbones.stages import (
    EnoughRead,
    Stage,
    classifier_modules,
    pool,
    pooled_feature,
    read_inputs,
    read_stages,
    stages_of,
)
from finetune_advisor.errors import BackboneError

STAGE_PROBE = ARCHITECTURE = "finetune_advisor_stage_probe"
"""Name under which timm builds a `StageProbe`."""


if TYPE_CHECKING:
    from finetune_advisor.backbones.build import Backbone

POOLED = "pooled"
"""Name, beside those of stages, of the feature that the backbone's own classifier sees."""


class StageProbe(nn.Module):
    """A backbone read at `stages` (mean and deviation per channel; "pooled" as it is) and one linear layer.

    The features are those of `FrozenTrunk`, concatenated in the order of `stages`. Layers above the deepest
    stage are not computed. `size` is the width and height of the images in pixels.

    Raises:
        BackboneError: the backbone has no stage of such a name.
    """

    def __init__(self, backbone: str, stages: Sequence[str], *, num_classes: int, size: int) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.num_classes = num_classes
        self.pretrained_cfg = self.default_cfg = default_cfg(STAGE_PROBE)
        self.model_args = {"backbone": backbone, "stages": list(stages), "size": size}
        self.backbone = _headless(backbone, size)
        self._readable = {stage.name: stage for stage in stages_of(self.backbone, (3, size, size))}
        self._classifier = classifier_modules(self.backbone)[0]
        self._check_stages(backbone)
        with torch.no_grad():
            self.num_features = self.forward_features(torch.zeros(1, 3, size, size)).shape[1]
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of normalized images (B, C, H, W)."""
        return self.forward_head(self.forward_features(x_BCHW))

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """The concatenated features, (B, D) in float32."""
        read = self.read(x_BCHW)
        return torch.cat([read[name] for name in self.stages], dim=1)

    def read(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """The features of each place, (B, D) in float32."""
        with (
            read_stages(self.backbone, self._read, reduce=pool, stop_after=self._deepest) as readings,
            read_inputs(self.backbone, [self._classifier], reduce=pooled_feature) as inputs,
            suppress(EnoughRead),
        ):
            self.backbone(x_BCHW)
        return {name: inputs[self._classifier] if name == POOLED else readings[name] for name in self.stages}

    def forward_head(self, features_BD: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, K) of features (B, D), or the features themselves, as in timm's networks."""
        if pre_logits:
            return features_BD
        logits_BK: Tensor = self.fc(features_BD.to(self.fc.weight.dtype))
        return logits_BK

    def get_classifier(self) -> nn.Module:
        """The linear layer, as in timm's networks."""
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """A new linear layer for another number of classes, as in timm's networks."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes).to(self.fc.weight)

    @property
    def _read(self) -> list[Stage]:
        return [self._readable[name] for name in self.stages if name != POOLED]

    @property
    def _deepest(self) -> Stage | None:
        """Where the forward pass may stop; nowhere while it is traced, which an exception would confuse."""
        if POOLED in self.stages or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
            return None
        order = list(self._readable)
        return max(self._read, key=lambda stage: order.index(stage.name))

    def _check_stages(self, backbone: str) -> None:
        known = [*(name for name in self._readable if name != "head"), POOLED]
        unknown = [name for name in self.stages if name not in known]
        if unknown or not self.stages:
            raise BackboneError(
                f"{backbone} has no stage {', '.join(unknown) or 'in an empty list'}",
                f"Known: {', '.join(known)}.",
            )


def stage_probe_of(backbone: Backbone, places: Sequence[str], weight_KD: Tensor, bias_K: Tensor) -> StageProbe:
    """A StageProbe with the backbone's own weights and a fitted classifier of K classes over D features.

    Raises:
        BackboneError: the backbone has no stage of such a name.
    """
    architecture = backbone.name.partition(".")[0]
    probe = StageProbe(architecture, places, num_classes=len(bias_K), size=backbone.input_size[-1])
    wanted = probe.backbone.state_dict()
    probe.backbone.load_state_dict({n: t for n, t in backbone.net.state_dict().items() if n in wanted})
    with torch.no_grad():
        probe.fc.weight.copy_(weight_KD)
        probe.fc.bias.copy_(bias_K)
    return probe.eval()


def _headless(backbone: str, size: int) -> nn.Module:
    """The backbone with nothing in the place of its classifier, so that what enters there can be read."""
    net = create_at_size(backbone, size)
    for path in classifier_modules(net):
        parent, _, name = path.rpartition(".")
        setattr(net.get_submodule(parent), name, nn.Identity())
    return net.eval()
