"""Our networks under names that `timm.create_model` takes; importing this module registers them.

What builds them is imported when one is built, because this module is loaded at the end of timm's own import,
whoever caused that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

if TYPE_CHECKING:
    from torch import nn

    from finetune_advisor.backbones.ensemble import Ensemble, ManyLooks
    from finetune_advisor.backbones.shared_probes import SharedProbes
    from finetune_advisor.backbones.stage_probe import StageProbe
    from finetune_advisor.backbones.whitened import Whitened

STAGE_PROBE = "finetune_advisor_stage_probe"
VARIANT = "finetune_advisor_variant"
WHITENED = "finetune_advisor_whitened"
ENSEMBLE = "finetune_advisor_ensemble"
LOOKS = "finetune_advisor_looks"
SHARED_PROBES = "finetune_advisor_shared_probes"

# timm's registration looks for this name in the module of the entry point.
default_cfgs = generate_default_cfgs(
    {
        STAGE_PROBE: {"classifier": "fc"},
        VARIANT: {},
        WHITENED: {},
        ENSEMBLE: {"classifier": "members"},
        LOOKS: {"classifier": "net"},
        SHARED_PROBES: {"classifier": "classifiers"},
    }
)

_NOT_OURS = ("in_chans", "global_pool", "img_size")
"""Arguments that timm adds for networks of its own."""


def _built(network: Any, name: str, pretrained: bool, kwargs: dict[str, Any]) -> Any:
    return build_model_with_cfg(
        network,
        name,
        pretrained,
        kwargs_filter=_NOT_OURS,  # type: ignore[arg-type]
        **kwargs,
    )


@register_model
def finetune_advisor_stage_probe(pretrained: bool = False, **kwargs: Any) -> StageProbe:
    """A `StageProbe`; takes its `backbone`, `stages`, `size` and `num_classes`."""
    from finetune_advisor.backbones.stage_probe import StageProbe

    probe: StageProbe = _built(StageProbe, STAGE_PROBE, pretrained, kwargs)
    return probe


@register_model
def finetune_advisor_variant(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A network of timm with other activations or a hidden layer; takes what `variant_net` takes."""
    from finetune_advisor.backbones.variant import variant_net

    net: nn.Module = _built(variant_net, VARIANT, pretrained, kwargs)
    return net


@register_model
def finetune_advisor_whitened(pretrained: bool = False, **kwargs: Any) -> Whitened:
    """A `Whitened`; takes its `backbone`, `backbone_args`, `size` and `num_classes`."""
    from finetune_advisor.backbones.whitened import new_whitened

    net: Whitened = _built(new_whitened, WHITENED, pretrained, kwargs)
    return net


@register_model
def finetune_advisor_ensemble(pretrained: bool = False, **kwargs: Any) -> Ensemble:
    """An `Ensemble`; takes its `members`, `weights`, `mean`, `std` and `num_classes`."""
    from finetune_advisor.backbones.ensemble import Ensemble

    ensemble: Ensemble = _built(Ensemble, ENSEMBLE, pretrained, kwargs)
    return ensemble


@register_model
def finetune_advisor_looks(pretrained: bool = False, **kwargs: Any) -> ManyLooks:
    """A `ManyLooks`; takes its `member`, `looks`, `size` and `num_classes`."""
    from finetune_advisor.backbones.ensemble import ManyLooks

    many: ManyLooks = _built(ManyLooks, LOOKS, pretrained, kwargs)
    return many


@register_model
def finetune_advisor_shared_probes(pretrained: bool = False, **kwargs: Any) -> SharedProbes:
    """A `SharedProbes`; takes its `backbone`, `heads`, `weights`, `size` and `num_classes`."""
    from finetune_advisor.backbones.shared_probes import SharedProbes

    probes: SharedProbes = _built(SharedProbes, SHARED_PROBES, pretrained, kwargs)
    return probes
