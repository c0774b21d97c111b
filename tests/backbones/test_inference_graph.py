"""The graph reads what the network reads; where it does not, that is said.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from finetune_advisor.backbones import inference_graph
from finetune_advisor.backbones import inference_graph as onnx_program
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.frozen import FrozenTrunk
from finetune_advisor.backbones.inference_graph import BATCH, InferenceGraph, NoGraph, open_graph, run_session
from finetune_advisor.backbones.stages import begins_with_convolutions

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "finetune-advisor" / "graphs"


@pytest.fixture(scope="module")
def trunk() -> FrozenTrunk:
    return FrozenTrunk(build("resnet18", "random", size=32), device="cpu", norm_statistics=True)


@pytest.fixture(scope="module", name="x_BCHW")
def _images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2 * BATCH + 3, 3, 32, 32), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def content(trunk: FrozenTrunk, x_BCHW: Tensor, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One export for all tests that only need some graph."""
    folder = tmp_path_factory.mktemp("graph")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert opened(trunk, x_BCHW) is not None
    [path] = folder.rglob("*.onnx")
    return path.read_bytes()


@pytest.fixture
def exports(content: bytes, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the export, which takes seconds, by one that was made before; counts the calls."""
    calls: list[int] = []

    def export(module: object, x_BCHW: Tensor) -> bytes:
        calls.append(len(x_BCHW))
        return content

    monkeypatch.setattr(inference_graph, "_export", export)
    return calls


def opened(trunk: FrozenTrunk, x_BCHW: Tensor, *, keep: bool = True, export: bool = True) -> InferenceGraph | None:
    return open_graph(trunk, x_BCHW, mean=MEAN, std=STD, keep=keep, export=export)


def test_it_reads_what_the_network_reads_in_batches_of_any_size(
    trunk: FrozenTrunk, x_BCHW: Tensor, exports: list[int]
) -> None:
    graph = opened(trunk, x_BCHW)
    assert graph is not None
    mean_C, std_C = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    for count in (1, BATCH, len(x_BCHW)):
        expected = trunk.named((x_BCHW[:count] / 255 - mean_C) / std_C)
        found = graph(x_BCHW[:count])
        assert list(found) == list(expected) and "pooled" in found and "norm.layer1" in found
        for name, values in expected.items():
            assert np.allclose(found[name], values, rtol=1e-3, atol=1e-4 * np.abs(values).max()), name


def test_it_is_exported_once_and_then_found_in_the_cache(
    trunk: FrozenTrunk, x_BCHW: Tensor, exports: list[int], own_cache: Path
) -> None:
    assert opened(trunk, x_BCHW, export=False) is None, "nothing is exported unless asked for"
    opened(trunk, x_BCHW)
    assert opened(trunk, x_BCHW, export=False) is not None
    assert len(exports) == 1 and len(list(own_cache.iterdir())) == 1
    other = (0.2, 0.3, 0.2500001)
    assert open_graph(trunk, x_BCHW, mean=MEAN, std=other, keep=True, export=False) is None


def test_without_the_cache_nothing_is_kept(
    trunk: FrozenTrunk, x_BCHW: Tensor, exports: list[int], own_cache: Path
) -> None:
    opened(trunk, x_BCHW, keep=False)
    opened(trunk, x_BCHW, keep=False)
    assert len(exports) == 2 and not own_cache.exists()


def test_a_graph_that_sees_something_else_is_refused(
    trunk: FrozenTrunk, x_BCHW: Tensor, monkeypatch: pytest.MonkeyPatch, exports: list[int]
) -> None:

    def wrong(session: object, x_BCHW: Tensor) -> list[np.ndarray]:
        return [values * 1.01 for values in run_session(session, x_BCHW)]

    monkeypatch.setattr(inference_graph, "run_session", wrong)
    with pytest.raises(NoGraph, match="differ from the network's own"):
        opened(trunk, x_BCHW)


def test_not_a_number_is_a_difference(
    trunk: FrozenTrunk, x_BCHW: Tensor, monkeypatch: pytest.MonkeyPatch, exports: list[int]
) -> None:
    monkeypatch.setattr(
        inference_graph, "run_session", lambda *some: [values * np.nan for values in run_session(*some)]
    )
    with pytest.raises(NoGraph, match="differ"):
        opened(trunk, x_BCHW)


@pytest.mark.parametrize("damage", [lambda content: b"junk", lambda content: content[:-1000], lambda content: b""])
def test_a_damaged_graph_is_exported_again(
    damage: Callable[[bytes], bytes],
    trunk: FrozenTrunk,
    x_BCHW: Tensor,
    exports: list[int],
    own_cache: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened(trunk, x_BCHW)
    [path] = own_cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert opened(trunk, x_BCHW) is not None
    assert len(exports) == 2 and path.read_bytes() == whole
    assert str(path) in caplog.text


def test_a_graph_that_reads_other_things_is_exported_again(
    trunk: FrozenTrunk, x_BCHW: Tensor, exports: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    opened(trunk, x_BCHW)
    fewer = FrozenTrunk(trunk.backbone, device="cpu", norm_statistics=False)
    with pytest.raises(NoGraph, match="it reads 11 things, expected 6"):
        opened(fewer, x_BCHW)
    assert len(exports) == 2 and "exported again" in caplog.text


@pytest.mark.parametrize(("number", "reason"), [(errno.EROFS, "read-only"), (errno.ENOSPC, "full")])
def test_a_disk_that_takes_no_graph_costs_only_the_next_command(
    number: int,
    reason: str,
    trunk: FrozenTrunk,
    x_BCHW: Tensor,
    exports: list[int],
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(path: Path, data: bytes) -> int:
        raise OSError(number, "refused", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        assert opened(trunk, x_BCHW) is not None
    assert reason in caplog.text and "exports the inference graph again" in caplog.text
    assert not [path for path in own_cache.rglob("*") if path.is_file()]
    assert opened(trunk, x_BCHW) is not None and len(exports) == 2


def test_a_cached_graph_that_cannot_be_read_is_exported_again(
    trunk: FrozenTrunk, x_BCHW: Tensor, exports: list[int], own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened(trunk, x_BCHW)
    [path] = own_cache.iterdir()
    path.unlink()
    path.mkdir()
    assert opened(trunk, x_BCHW) is not None
    assert len(exports) == 2 and "cannot be read and is exported again" in caplog.text


def test_what_cannot_be_exported_is_said(trunk: FrozenTrunk, x_BCHW: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise torch.onnx.OnnxExporterError("an operation is unknown\nand a long story")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(NoGraph, match=r"cannot be exported: an operation is unknown$"):
        opened(trunk, x_BCHW)


def test_weights_too_large_for_one_file_are_not_exported(
    trunk: FrozenTrunk, x_BCHW: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_program, "LARGEST_BYTES", 1_000_000)
    with pytest.raises(NoGraph, match="weights take"):
        opened(trunk, x_BCHW)


def test_images_that_do_not_fit_are_our_own_mistake_but_said(
    trunk: FrozenTrunk, x_BCHW: Tensor, exports: list[int]
) -> None:
    graph = opened(trunk, x_BCHW)
    assert graph is not None
    with pytest.raises(NoGraph, match="ONNX Runtime cannot run it"):
        graph(x_BCHW[:, :, :16, :16].contiguous())


def test_only_networks_that_begin_with_convolutions_gain_from_it() -> None:
    assert begins_with_convolutions(build("resnet18", "random", size=32).stages)
    assert not begins_with_convolutions(build("vit_tiny_patch16_224", "random", size=32).stages)


def test_onnx_runtime_keeps_to_itself(tmp_path: Path) -> None:
    """Its telemetry, on by default, would begin with files of its own in the user's cache."""
    code = "import finetune_advisor.backbones.inference_graph, onnxruntime"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not list(tmp_path.rglob("*onnxruntime*"))
