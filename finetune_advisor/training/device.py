"""What the network runs on: in words, and how tensors get there."""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor


def describe(device: str) -> dict[str, Any]:
    """The device in words, and the threads that torch computes with on the CPU."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else platform.processor() or platform.machine()
    return {"kind": kind, "name": name, "torch_threads": torch.get_num_threads()}


def sent_to(device: torch.device, tensor: Tensor) -> Tensor:
    """The same on the device; to a GPU only pinned memory travels while the CPU goes on."""
    travels = device.type == "cuda" and tensor.device.type == "cpu"
    return (tensor.pin_memory() if travels else tensor).to(device, non_blocking=True)
