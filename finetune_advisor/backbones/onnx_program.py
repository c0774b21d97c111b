"""A network written as ONNX, and ONNX Runtime that runs it; what cannot be done is one exception with the reason.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST_BYTES = 1_500_000_000
"""Of the weights: an ONNX file in one piece holds at most 2 GB."""

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime reports to its maker unless this is set before it is imported; a person's data stays at home."""


class NoGraph(Exception):
    """The network cannot be run as a graph; the message says why."""


def onnx_program(
    module: nn.Module,
    x_BCHW: Tensor,
    *,
    largest_batch: int | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> ModelProto:
    """A module that takes images as an ONNX graph, for any batch up to `largest_batch`.

    Args:
        module: in evaluation mode, on the CPU.
        x_BCHW: images as it takes them; what is in them does not matter.
        inputs, outputs: their names in the graph; the exporter's where None.

    Raises:
        NoGraph: it is too large for one file, or has an operation that ONNX does not.
    """
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > LARGEST_BYTES:
        raise NoGraph(f"its weights take {size / 1e9:.1f} GB, more than the {LARGEST_BYTES / 1e9:.1f} GB of one file")
    # What the exporter says on the way is meant for its developers; a failure comes as an exception.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                (_two(x_BCHW),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=largest_batch)},),
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise NoGraph(f"it cannot be exported: {_first_line(error)}") from error
    assert program is not None
    proto: ModelProto = program.model_proto
    return proto


def _two(x_BCHW: Tensor) -> Tensor:
    """Two images: the exporter takes a batch of one for a constant."""
    return torch.cat([x_BCHW, x_BCHW])[:2]


def open_session(content: bytes) -> Any:
    """A session of ONNX Runtime on the CPU.

    Raises:
        NoGraph: it cannot load the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _session_errors() as error:
        raise NoGraph(f"ONNX Runtime cannot load it: {_first_line(error)}") from error


def run_session(session: Any, x_BCHW: Tensor) -> list[Any]:
    """The outputs for a batch of images, as arrays.

    Raises:
        NoGraph: the session fails.
    """
    try:
        result: list[Any] = session.run(None, {session.get_inputs()[0].name: x_BCHW.numpy()})
    except _session_errors() as error:
        raise NoGraph(f"ONNX Runtime cannot run it: {_first_line(error)}") from error
    return result


def _session_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return tuple(getattr(state, name) for name in names)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
