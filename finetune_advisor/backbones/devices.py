"""Which device networks run on; torch is loaded when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune_advisor.errors import FinetuneAdvisorError

if TYPE_CHECKING:
    import torch

AUTO = "auto"


def torch_device(name: str) -> str:
    """The torch device for `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        FinetuneAdvisorError: a device was asked for that is not there.
    """
    if name == "cpu":
        return str(name)
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == AUTO:
        return next(device for device, present in there.items() if present)
    if not there[name]:
        found = ", ".join(device for device, present in there.items() if present)
        raise FinetuneAdvisorError(f"There is no {name} device here; found: {found}.", "Leave out --device.")
    return str(name)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked for, without which a clock measures the asking."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
