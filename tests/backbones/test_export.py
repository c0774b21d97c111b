"""A saved network says the same wherever it is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.export import Preprocessing, load_model, save_model
from finetune_advisor.backbones.wrappers.stage_probe import StageProbe
from finetune_advisor.errors import RunError

from .conftest import Python

CLASSES = ("ants", "bees", "wasps")


def _save(net: nn.Module, folder: Path, architecture: str, model_args: dict[str, Any] | None = None) -> Path:
    preprocessing: Preprocessing = {
        "input_size": (3, 32, 32),
        "mean": (0.4, 0.5, 0.6),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "crop_mode": "center",
    }
    save_model(
        net,
        folder / "model",
        architecture=architecture,
        classes=CLASSES,
        preprocessing=preprocessing,
        details={"recipe": "few_layers"},
        model_args=model_args,
    )
    return folder / "model"


FRESH = """
import sys, torch
{imports}
net = timm.create_model("local-dir:" + {folder!r}, pretrained=True).eval()
case = torch.load({case!r}, weights_only=True)
with torch.no_grad():
    assert torch.allclose(net(case["x"]), case["logits"], atol=1e-5)
print(net.pretrained_cfg["label_names"], net.pretrained_cfg["mean"], net.pretrained_cfg["interpolation"])
"""
EXPECTED = "['ants', 'bees', 'wasps'] [0.4, 0.5, 0.6] bilinear"


def _logits_in_a_fresh_process(python: Python, net: nn.Module, folder: Path, imports: str) -> str:
    x_BCHW = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits_BK = net(x_BCHW)
    case = folder.parent / "case.pt"
    torch.save({"x": x_BCHW, "logits": logits_BK}, case)
    result = python(FRESH.format(imports=imports, folder=str(folder), case=str(case)))
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_plain_networks_open_with_timm_alone(tmp_path: Path, python: Python) -> None:
    net = build("tf_efficientnet_lite0", "bundled", classes=3, size=32).net
    net.to(memory_format=torch.channels_last)
    folder = _save(net, tmp_path, "tf_efficientnet_lite0")
    net.to(memory_format=torch.contiguous_format)
    assert _logits_in_a_fresh_process(python, net, folder, "import timm") == EXPECTED


def test_a_fixed_size_network_opens_at_the_size_it_was_trained_at(tmp_path: Path, python: Python) -> None:
    net = build("vit_tiny_patch16_224", "random", classes=3, size=32).net
    folder = _save(net, tmp_path, "vit_tiny_patch16_224")
    assert _logits_in_a_fresh_process(python, net, folder, "import timm") == EXPECTED


@pytest.mark.parametrize("imports", ["import finetune_advisor, timm", "import timm, finetune_advisor"])
def test_stage_probes_open_after_importing_us_in_either_order(tmp_path: Path, python: Python, imports: str) -> None:
    net = StageProbe("resnet18", ["layer2", "stem"], num_classes=3, size=32).eval()
    folder = _save(net, tmp_path, "finetune_advisor_stage_probe", net.model_args)
    assert _logits_in_a_fresh_process(python, net, folder, imports) == EXPECTED


def test_load_model_returns_the_net_and_our_block(tmp_path: Path) -> None:
    net = build("resnet18.a1_in1k", "random", classes=3, size=32).net
    opened, config = load_model(_save(net, tmp_path, "resnet18.a1_in1k"))
    x_BCHW = torch.randn(1, 3, 32, 32)
    assert torch.equal(opened(x_BCHW), net(x_BCHW)) and not opened.training
    assert config["finetune_advisor"] == {"recipe": "few_layers"}
    assert config["label_names"] == list(CLASSES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"holds no config\.json"),
        ("config.json", b"{", "is damaged"),
        ("config.json", b"{}", "was not written by"),
        ("model.safetensors", None, r"holds no model\.safetensors"),
        ("model.safetensors", b"half", "cannot be opened"),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    folder = _save(build("resnet18", "random", classes=3, size=32).net, tmp_path, "resnet18")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        load_model(folder)


def test_weights_that_do_not_belong_to_the_config_are_refused(tmp_path: Path) -> None:
    folder = _save(build("resnet18", "random", classes=3, size=32).net, tmp_path, "resnet18")
    save_file({"fc.weight": torch.zeros(3, 512)}, folder / "model.safetensors")
    with pytest.raises(RunError, match="cannot be opened"):
        load_model(folder)


def test_config_is_plain_json_with_class_names_on_top(tmp_path: Path) -> None:
    folder = _save(build("resnet18", "random", classes=3, size=32).net, tmp_path, "resnet18")
    config = json.loads((folder / "config.json").read_text())
    assert config["num_classes"] == 3 and config["label_names"] == list(CLASSES)
    assert "finetune_advisor" not in config["pretrained_cfg"]
