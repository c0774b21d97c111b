"""What a recipe cannot leave to the training device.

Like `recipe_rules`, over plain values that may still be wrong themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetune_advisor.artifacts.technique_rules import Conflict, at
from finetune_advisor.techniques.augmentation import Drawn, RandomCrop, RandomErasing
from finetune_advisor.techniques.catalog import families, kind_of

_KEY = "runtime.augment_on"


def device_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Augmentations that a device cannot make of a whole batch at once, or the lack of any."""
    items = values.get("augmentation") or ()
    if at(values, _KEY) != "device" or not isinstance(items, (list, tuple)):
        return
    if not items:
        yield _KEY, "nothing is augmented, so there is nothing to do on the device; set it to cpu"
    members = {kind_of(technique): technique for technique in families()["augmentation"]}
    cut = False
    for place, item in enumerate(items):
        kind = item.get("kind") if isinstance(item, Mapping) else None
        technique = members.get(kind) if isinstance(kind, str) else None
        cut = cut or technique is RandomCrop
        if technique is not None and not issubclass(technique, Drawn):
            yield (
                f"augmentation.{place}",
                f"{kind} changes images one by one, on the CPU only; leave it out, or set {_KEY} to cpu",
            )
        if technique is RandomErasing and not cut:
            yield (
                f"augmentation.{place}",
                f"on the device {kind} hides a part of the network's input; put random_crop before it, or set {_KEY} "
                "to cpu",
            )
