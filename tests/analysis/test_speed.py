"""Speed is that of every stage, and what is timed is real: more network takes more time."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.analysis.speed import speed_of
from finetune_advisor.backbones.build import build
from finetune_advisor.features.extract import instrument
from finetune_advisor.techniques.preprocessing import Backbone
from tests.conftest import ImageFolder


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv3_small_050", "deit_tiny_patch16_224"])
def test_every_stage_is_timed(image_folder: ImageFolder, backbone: str) -> None:
    size = 224 if "deit" in backbone else 32
    seen = instrument(backbone, "random", Backbone(size=size, fit="crop"))
    paths = sorted(image_folder({"ants": 3, "bees": 3}).rglob("*.png"))
    speed = speed_of(seen, paths, device="cpu")
    assert speed is not None
    assert list(speed.forward) == [stage.name for stage in build(backbone, "random", size=size).stages]
    assert all(seconds > 0 for seconds in speed.forward.values())
    assert speed.backward > 0.2 and speed.decoding > 0 and speed.device == "cpu"


def test_images_that_are_gone_leave_it_unmeasured(tmp_path: Path) -> None:
    seen = instrument("resnet18", "random", Backbone(size=32, fit="crop"))
    assert speed_of(seen, [tmp_path / "gone.png"], device="cpu") is None
