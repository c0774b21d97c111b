"""What a trained model can be exported as."""

from __future__ import annotations

from enum import StrEnum


class ExportForm(StrEnum):
    """What `export --format` takes."""

    safetensors = "safetensors"
    onnx = "onnx"
    hub = "hub"
