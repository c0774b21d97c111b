"""What the network runs on, in words."""

from __future__ import annotations

import platform
from typing import Any

import torch


def describe(device: str) -> dict[str, Any]:
    """The device in words, and the threads that torch computes with on the CPU."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else platform.processor() or platform.machine()
    return {"kind": kind, "name": name, "torch_threads": torch.get_num_threads()}
