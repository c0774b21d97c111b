"""Several networks as one network.

Shapes: B images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.export import described, load_model, save_model
from finetune_advisor.backbones.wrappers.ensemble import Ensemble, ManyLooks, ensemble_of
from finetune_advisor.backbones.wrappers.shared_probes import SharedProbes
from finetune_advisor.backbones.wrappers.stage_probe import ARCHITECTURE, StageProbe, stage_probe_of
from finetune_advisor.techniques.preprocessing import Preprocess

CLASSES = ("ants", "bees", "wasps")
SIZE = 32
USUAL = Preprocess(SIZE, "crop", 0.875, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OTHER = Preprocess(SIZE, "crop", 0.875, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def saved(
    net: nn.Module,
    folder: Path,
    architecture: str,
    p: Preprocess = USUAL,
    model_args: dict[str, Any] | None = None,
    strategy: str = "few_layers",
) -> Path:
    save_model(
        net.eval(),
        folder,
        architecture=architecture,
        classes=CLASSES,
        preprocessing=described(p),
        details={"strategy": strategy},
        model_args=model_args,
    )
    return folder


@pytest.fixture
def networks(tmp_path: Path) -> list[Path]:
    """Three of different kinds; the second one was trained with another normalization, the third is a transformer."""
    first = StageProbe("resnet18", ["layer2", "pooled"], num_classes=3, size=SIZE)
    second = build("mobilenetv3_small_050", "random", classes=3, size=SIZE, seed=1).net
    third = build("vit_tiny_patch16_224", "random", classes=3, size=SIZE, seed=2).net
    return [
        saved(first, tmp_path / "a", ARCHITECTURE, model_args=first.model_args),
        saved(second, tmp_path / "b", "mobilenetv3_small_050", OTHER),
        saved(third, tmp_path / "c", "vit_tiny_patch16_224"),
    ]


def normalized(pixels_BCHW: torch.Tensor, p: Preprocess) -> torch.Tensor:
    mean_C, std_C = torch.tensor(p.mean).view(3, 1, 1), torch.tensor(p.std).view(3, 1, 1)
    return (pixels_BCHW - mean_C) / std_C


def test_its_softmax_is_the_weighted_mean_of_the_members_probabilities(networks: list[Path]) -> None:
    pixels_BCHW = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    weights = (0.5, 0.3, 0.2)
    net = ensemble_of(networks, weights)
    with torch.no_grad():
        parts = [load_model(folder)[0] for folder in networks]
        wanted_BK = sum(
            weight * part(normalized(pixels_BCHW, p)).softmax(1)
            for weight, part, p in zip(weights, parts, (USUAL, OTHER, USUAL), strict=True)
        )
        torch.testing.assert_close(net(normalized(pixels_BCHW, USUAL)).softmax(1), wanted_BK, atol=1e-5, rtol=1e-4)


OPEN = """
import sys, torch, finetune_advisor, timm
for folder in sys.argv[1:]:
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    case = torch.load(f"{folder}/case.pt", weights_only=True)
    with torch.no_grad():
        assert torch.allclose(net(case["x"]), case["logits"], atol=1e-5)
    print(net.pretrained_cfg["label_names"])
"""


def looking(folder: Path, looks: Sequence[tuple[int, int, int, bool]]) -> ManyLooks:
    """A model as version 0.1 made it of ten crops or several scales."""
    net, config = load_model(folder)
    member = {key: config[key] for key in ("architecture", "model_args", "pretrained_cfg")}
    many = ManyLooks(member, looks, SIZE, num_classes=config["num_classes"])
    many.net.load_state_dict(net.state_dict())
    return many.eval()


@pytest.mark.slow
def test_timm_opens_both_kinds_in_a_fresh_process(networks: list[Path], tmp_path: Path) -> None:
    together = ensemble_of(networks[:2], (0.5, 0.5))
    many = looking(networks[1], [(0, 0, 32, False), (8, 8, 32, True), (0, 0, 40, False)])
    folders = []
    probes = ensemble_of([networks[0], networks[0]], (0.5, 0.5))
    for net, side in ((together, 32), (many, 40), (probes, 32)):
        folder = saved(net, tmp_path / net.architecture, net.architecture, model_args=net.model_args)
        x_BCHW = torch.randn(2, 3, side, side)
        with torch.no_grad():
            torch.save({"x": x_BCHW, "logits": net(x_BCHW)}, folder / "case.pt")
        folders.append(str(folder))
    ended = subprocess.run([sys.executable, "-c", OPEN, *folders], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [str(list(CLASSES))] * 3


def test_looks_are_crops_mirror_images_and_smaller_pictures(networks: list[Path]) -> None:
    x_BCHW = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    net = load_model(networks[1])[0]
    many = looking(networks[1], [(2, 4, 32, False), (8, 8, 32, True), (0, 0, 40, False)])
    small_BCHW = nn.functional.interpolate(x_BCHW, size=(32, 32), mode="bilinear")
    seen = [x_BCHW[:, :, 2:34, 4:36], x_BCHW[:, :, 8:40, 8:40].flip(3), small_BCHW]
    with torch.no_grad():
        wanted_BK = torch.stack([net(part).softmax(1) for part in seen]).mean(0)
        torch.testing.assert_close(many(x_BCHW).softmax(1), wanted_BK, atol=1e-5, rtol=1e-4)


def test_probes_of_one_network_run_it_once_and_answer_as_they_would_alone(tmp_path: Path) -> None:
    backbone = build("mobilenetv3_small_050", "random", classes=3, size=SIZE)
    torch.manual_seed(0)
    stem = stage_probe_of(backbone, ["stem"], torch.randn(3, 32), torch.randn(3))
    deep = stage_probe_of(backbone, ["blocks.1", "pooled"], torch.randn(3, 1056), torch.randn(3))
    folders = [
        saved(backbone.net, tmp_path / "top", "mobilenetv3_small_050", strategy="linear_probe"),
        saved(stem, tmp_path / "stem", ARCHITECTURE, model_args=stem.model_args),
        saved(deep, tmp_path / "deep", ARCHITECTURE, model_args=deep.model_args),
    ]
    net = ensemble_of(folders, (0.5, 0.25, 0.25))
    assert isinstance(net, SharedProbes) and net.heads == [("pooled",), ("stem",), ("blocks.1", "pooled")]
    x_BCHW = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        alone = [load_model(folder)[0](x_BCHW).softmax(1) for folder in folders]
        wanted_BK = 0.5 * alone[0] + 0.25 * alone[1] + 0.25 * alone[2]
        torch.testing.assert_close(net(x_BCHW).softmax(1), wanted_BK, atol=1e-5, rtol=1e-4)
        folder = saved(net, tmp_path / "all", net.architecture, model_args=net.model_args)
        torch.testing.assert_close(load_model(folder)[0](x_BCHW), net(x_BCHW))


def test_probes_of_different_networks_share_nothing(tmp_path: Path) -> None:
    folders = []
    for seed in range(2):
        backbone = build("mobilenetv3_small_050", "random", classes=3, size=SIZE, seed=seed)
        probe = stage_probe_of(backbone, ["stem"], torch.randn(3, 32), torch.randn(3))
        folders.append(saved(probe, tmp_path / str(seed), ARCHITECTURE, model_args=probe.model_args))
    assert isinstance(ensemble_of(folders, (0.5, 0.5)), Ensemble)
