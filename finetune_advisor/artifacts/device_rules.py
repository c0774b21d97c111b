"""What a recipe cannot leave to the training device.

Like `recipe_rules`, over plain values that may still be wrong themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetune_advisor.artifacts.technique_rules import Conflict, at, kind_in, technique_in
from finetune_advisor.techniques.augmentation import Drawn, RandomCrop, RandomErasing

_KEY = "runtime.augment_on"


def device_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Augmentations that a device cannot make of a whole batch at once, or the lack of any."""
    items = values.get("augmentation") or ()
    if at(values, _KEY) != "device" or not isinstance(items, (list, tuple)):
        return
    if not items:
        yield _KEY, "nothing is augmented, so there is nothing to do on the device; set it to cpu"
    cut = False
    for place, item in enumerate(items):
        kind, technique = kind_in(item), technique_in("augmentation", item)
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
