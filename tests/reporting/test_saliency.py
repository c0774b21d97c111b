"""The overlay lies where the answer hangs on pixels, and filters are shown one beside the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.reporting.filters import filter_sheet
from finetune_advisor.reporting.saliency import overlays, saliency
from finetune_advisor.techniques.preprocessing import Preprocess


class Corner(torch.nn.Module):
    """Looks at the upper left quarter alone."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        half = x_BCHW.shape[2] // 2
        seen_B = x_BCHW[:, :, :half, :half].square().mean(dim=(1, 2, 3))
        return torch.stack([seen_B, -seen_B], dim=1)


def predictor() -> Predictor:
    preprocess = Preprocess(
        size=32, fit="crop", crop_pct=1.0, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    return Predictor(Corner(), preprocess, ("a", "b"), "cpu", {})


def test_what_the_answer_does_not_hang_on_stays_dark() -> None:
    x_BCHW = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps_BHW = saliency(predictor(), x_BCHW)
    assert maps_BHW.shape == (2, 32, 32)
    assert maps_BHW[:, :16, :16].mean() > 0.2
    assert maps_BHW[:, 16:, :].max() == 0 and maps_BHW[:, :, 16:].max() == 0
    assert np.array_equal(maps_BHW, saliency(predictor(), x_BCHW)), "the same every time"


def test_a_file_that_is_gone_is_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (40, 32), (10, 200, 30)).save(tmp_path / "a.png")
    found = overlays(predictor(), {"a": tmp_path / "a.png", "b": tmp_path / "gone.png"})
    assert list(found) == ["a"]
    image, veiled = found["a"]
    assert image.size == veiled.size == (32, 32)


def test_filters_keep_their_colors_and_their_order() -> None:
    filters = np.zeros((20, 3, 3, 3), dtype=np.float32)
    filters[0, 0, 0, 0] = 1.0
    sheet = filter_sheet(filters)
    assert sheet.getpixel((0, 0)) == (255, 0, 0, 255), "the bright pixel of the first filter is red"
    assert np.asarray(sheet)[0, 35, 3] == 0, "a transparent gap"
    assert filter_sheet(np.ones((1, 1, 7, 7), dtype=np.float32)).getpixel((3, 3)) == (128, 128, 128, 255)
