"""How tensors get to the device that computes with them."""

from __future__ import annotations

import torch
from torch import Tensor


def sent_to(device: torch.device, tensor: Tensor) -> Tensor:
    """The same on the device; to a GPU only pinned memory travels while the CPU goes on."""
    travels = device.type == "cuda" and tensor.device.type == "cpu"
    return (tensor.pin_memory() if travels else tensor).to(device, non_blocking=True)
