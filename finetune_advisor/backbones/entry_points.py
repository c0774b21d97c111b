"""Our networks under names that `timm.create_model` takes; importing this module registers them.

It is loaded at the end of timm's own import, whoever caused that: perhaps one of our modules in the middle of its own.
So what builds a network is imported when one is built, and nothing of ours imports this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

if TYPE_CHECKING:
    from torch import nn

# timm's registration looks for this name in the module of the entry point.
default_cfgs = generate_default_cfgs(
    {
        "finetune_advisor_stage_probe": {"classifier": "fc"},
        "finetune_advisor_variant": {},
        "finetune_advisor_whitened": {},
        "finetune_advisor_ensemble": {"classifier": "members"},
        "finetune_advisor_looks": {"classifier": "net"},
        "finetune_advisor_shared_probes": {"classifier": "classifiers"},
    }
)

_NOT_OURS = ("in_chans", "global_pool", "img_size")
"""Arguments that timm adds for networks of its own."""


def _built(network: Any, name: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    net: nn.Module = build_model_with_cfg(
        network,
        name,
        pretrained,
        kwargs_filter=_NOT_OURS,  # type: ignore[arg-type]
        **kwargs,
    )
    return net


@register_model
def finetune_advisor_stage_probe(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A `StageProbe`; takes its `backbone`, `stages`, `size` and `num_classes`."""
    from finetune_advisor.backbones.wrappers.stage_probe import STAGE_PROBE, StageProbe

    return _built(StageProbe, STAGE_PROBE, pretrained, kwargs)


@register_model
def finetune_advisor_variant(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A network of timm with other activations or a hidden layer; takes what `variant_net` takes."""
    from finetune_advisor.backbones.variant import VARIANT, variant_net

    return _built(variant_net, VARIANT, pretrained, kwargs)


@register_model
def finetune_advisor_whitened(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A `Whitened`; takes its `backbone`, `backbone_args`, `size` and `num_classes`."""
    from finetune_advisor.backbones.wrappers.whitened import WHITENED, new_whitened

    return _built(new_whitened, WHITENED, pretrained, kwargs)


@register_model
def finetune_advisor_ensemble(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """An `Ensemble`; takes its `members`, `weights`, `mean`, `std` and `num_classes`."""
    from finetune_advisor.backbones.wrappers.ensemble import ENSEMBLE, Ensemble

    return _built(Ensemble, ENSEMBLE, pretrained, kwargs)


@register_model
def finetune_advisor_looks(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A `ManyLooks`; takes its `member`, `looks`, `size` and `num_classes`."""
    from finetune_advisor.backbones.wrappers.ensemble import LOOKS, ManyLooks

    return _built(ManyLooks, LOOKS, pretrained, kwargs)


@register_model
def finetune_advisor_shared_probes(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A `SharedProbes`; takes its `backbone`, `heads`, `weights`, `size` and `num_classes`."""
    from finetune_advisor.backbones.wrappers.shared_probes import SHARED_PROBES, SharedProbes

    return _built(SharedProbes, SHARED_PROBES, pretrained, kwargs)
