"""A frozen network as an inference graph: what is read from it, several times faster on a CPU.

The network with what is read from it, everywhere (`FrozenTrunk`) or at the end of one stage (`FrozenPart`), is exported
once to ONNX, kept in the cache, and run by ONNX Runtime, which fuses what eager PyTorch does one operation at a time.
The pixels go in as they were decoded, uint8; normalization is part of the graph.

Source: ONNX Runtime, "Graph Optimizations in ONNX Runtime", https://onnxruntime.ai/docs/performance/.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune_advisor.backbones.stages import begins_with_convolutions, evaluation_mode
from finetune_advisor.errors import StorageError
from finetune_advisor.storage.files import atomic_write, cache_root

if TYPE_CHECKING:
    from onnx import ModelProto

    from finetune_advisor.backbones.build import Backbone

log = logging.getLogger(__name__)

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


FORMAT = 2
"""Raised when the exported graph changes."""

TOLERANCE = 1e-3
"""Largest difference from the network itself, as a share of the largest value of the same reading."""

IMAGES_COMPARED = 8

WORTH_EXPORTING = 150
"""Images from which exporting a graph pays: it takes about as long as the network itself for so many."""

BATCH = 4
"""Images that go through together: what a few of them need stays in the processor's caches (measured: 200 images a
second, where 32 together reach 158 and take twice the memory)."""


FloatArray = npt.NDArray[np.float32]


class Readable(Protocol):
    """A network that is only read, and where."""

    @property
    def backbone(self) -> Backbone: ...

    @property
    def reads(self) -> str:
        """What is read, for the name of the cached file."""

    def readings(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """What is read of normalized images, by name, as plain tensor code that can be traced."""


@dataclass(frozen=True)
class InferenceGraph:
    """A session of ONNX Runtime that reads what the network itself does."""

    session: Any
    names: tuple[str, ...]

    def __call__(self, x_BCHW: Tensor) -> dict[str, FloatArray]:
        """The readings of uint8 images (B, C, H, W), by name.

        Raises:
            NoGraph: the session fails.
        """
        parts = [run_session(self.session, part) for part in torch.split(x_BCHW, BATCH)]
        return {name: np.concatenate(values) for name, *values in zip(self.names, *parts, strict=True)}


def open_graph_if_worth(
    readable: Readable, x_BCHW: Tensor, *, mean: Sequence[float], std: Sequence[float], images: int, keep: bool = True
) -> InferenceGraph | None:
    """The graph of a network on the CPU where it pays for so many images; None, and why in the log, where it cannot be.

    Transformers gain nothing from it.
    """
    if not begins_with_convolutions(readable.backbone.stages):
        return None
    try:
        return open_graph(readable, x_BCHW, mean=mean, std=std, keep=keep, export=images >= WORTH_EXPORTING)
    except NoGraph as reason:
        do_without(readable.backbone.name, reason)
        return None


def do_without(name: str, reason: NoGraph) -> None:
    """Say why a network has no graph, or none any more."""
    log.warning("%s is not run as an inference graph but as it is, which is slower: %s", name, reason)


def open_graph(
    readable: Readable,
    x_BCHW: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    keep: bool,
    export: bool,
) -> InferenceGraph | None:
    """The graph of a network: from the cache, or exported now; None where it is neither there nor to be exported.

    Args:
        readable: on the CPU.
        x_BCHW: some images, uint8, of which a few are shown to network and graph; both have to see the same.
        mean, std: of each channel, for pixels in [0, 1].
        keep: whether the cache on disk is used.
        export: False takes a graph from the cache only; exporting takes seconds.

    Raises:
        NoGraph: it cannot be exported or run, or differs from the network.
    """
    few_BCHW = x_BCHW[:IMAGES_COMPARED]
    path = cache_root() / "graphs" / f"{readable.backbone.name}-{_key(readable, few_BCHW, mean, std)}.onnx"
    content = _cached(path) if keep else None
    if content is None and not export:
        return None
    with evaluation_mode(readable.backbone.net):
        module = _Readings(readable, mean, std).eval()
        with torch.inference_mode():
            wanted = {name: values.numpy() for name, values in readable.readings(module.normalized(few_BCHW)).items()}
        if content is not None:
            try:
                return _checked(content, few_BCHW, wanted)
            except NoGraph as problem:
                log.warning("a cached inference graph cannot be used and is exported again: %s (%s)", path, problem)
        content = _export(module, few_BCHW)
    graph = _checked(content, few_BCHW, wanted)
    if keep:
        _keep(path, content)
    return graph


def _checked(content: bytes, x_BCHW: Tensor, wanted: dict[str, FloatArray]) -> InferenceGraph:
    graph = InferenceGraph(open_session(content), tuple(wanted))
    outputs = len(graph.session.get_outputs())
    if outputs != len(wanted):
        raise NoGraph(f"it reads {outputs} things, expected {len(wanted)}")
    _require_equal(graph(x_BCHW), wanted)
    return graph


class _Readings(nn.Module):
    """The network as a function from uint8 images to the tuple of everything that is read."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, readable: Readable, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = readable.backbone.net
        self.readable = readable
        self.register_buffer("mean_C", 255 * torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std_C", 255 * torch.tensor(std).view(1, -1, 1, 1))

    def normalized(self, x_BCHW: Tensor) -> Tensor:
        return (x_BCHW.float() - self.mean_C) / self.std_C

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.readable.readings(self.normalized(x_BCHW)).values())


def _key(readable: Readable, x_BCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> str:
    import onnx
    import onnxruntime
    import timm

    versions = (torch.__version__, timm.__version__, onnx.__version__, onnxruntime.__version__)
    weights, shape = readable.backbone.weights.digest, tuple(x_BCHW.shape[1:])
    parts = (FORMAT, readable.reads, weights, shape, tuple(mean), tuple(std), versions)
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _cached(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        log.warning("a cached inference graph cannot be read and is exported again: %s (%s)", path, problem)
        return None


def _keep(path: Path, content: bytes) -> None:
    try:
        atomic_write(path, content)
    except StorageError as problem:
        log.warning("the next command exports the inference graph again: %s", problem.message)


def _export(module: _Readings, x_BCHW: Tensor) -> bytes:
    content: bytes = onnx_program(module, x_BCHW, largest_batch=BATCH).SerializeToString()
    return content


def _require_equal(found: dict[str, FloatArray], wanted: dict[str, FloatArray]) -> None:
    for name, values in wanted.items():
        difference = float(np.abs(found[name] - values).max() / (np.abs(values).max() + TOLERANCE))
        if not difference <= TOLERANCE:  # so that NaN does not pass
            raise NoGraph(f"its {name} differ from the network's own by {difference:.1e} of their size")
