"""What the tests of the backbones share: the networks that every generic mechanism must hold for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from finetune_advisor.backbones.build import Backbone, build

NETWORKS = (
    "resnet18",
    "convnext_atto",
    "mobilenetv3_small_050",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "efficientvit_b0",
    "mobilevit_xxs",
    "tf_efficientnet_lite0",
)
SIZE = 32

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", params=NETWORKS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """Each network with random weights, for small images; do not change it."""
    backbone = build(request.param, "random", size=SIZE)
    _let_the_image_matter(backbone.net)
    return backbone


def _let_the_image_matter(net: nn.Module) -> None:
    """Fit BatchNorm to the random weights; else the signal fades and every image scores the same."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    net.train()
    with torch.no_grad():
        net(torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    net.eval()


@pytest.fixture
def images_BCHW() -> Tensor:  # noqa: N802 - the name of the argument it becomes
    """Three normalized noise images."""
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def python() -> Python:
    """Run a script in a fresh interpreter, with extra environment variables."""

    def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment: Mapping[str, str] = os.environ | variables
        return subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run
