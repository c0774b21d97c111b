"""What a result depends on beside recipe and images: versions, machine, command."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("finetune-advisor", "torch", "torchvision", "timm", "numpy", "pillow", "pydantic")


def environment(device: Mapping[str, Any]) -> dict[str, Any]:
    """Content of environment.json; `device` describes what the network runs on."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": dict(device),
        "packages": {name: installed_version(name) for name in PACKAGES},
    }


def installed_version(package: str = PACKAGES[0]) -> str | None:
    """Of a package, if not of this one; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
