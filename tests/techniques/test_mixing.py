"""Two images make one, and the label is shared as the pixels are.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from finetune_advisor.techniques.mixing import CutMix, Mixing, MixUp

IMAGES_BCHW = torch.randint(0, 256, (4, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BLACK_BCHW, WHITE_BCHW = torch.zeros_like(IMAGES_BCHW), torch.full_like(IMAGES_BCHW, 255)


@pytest.mark.parametrize("technique", [MixUp(alpha=0.2), MixUp(alpha=3.0), CutMix(alpha=1.0)])
def test_the_share_follows_the_beta_distribution(technique: Mixing) -> None:
    rng = np.random.default_rng(0)
    drawn = [technique.drawn_share(rng) for _ in range(4000)]
    assert stats.kstest(drawn, stats.beta(technique.alpha, technique.alpha).cdf).pvalue > 0.01


def test_the_other_batches_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    technique = CutMix(probability=0.25)
    unmixed = sum(technique.drawn_share(rng) == 1.0 for _ in range(2000))
    assert unmixed / 2000 == pytest.approx(0.75, abs=0.04)
    x_BCHW, share = technique.mix(IMAGES_BCHW, WHITE_BCHW, 1.0, rng)
    assert torch.equal(x_BCHW, IMAGES_BCHW) and share == 1.0


def test_mixup_is_the_weighted_mean() -> None:
    partner_BCHW = IMAGES_BCHW.flip(0)
    x_BCHW, share = MixUp().mix(IMAGES_BCHW, partner_BCHW, 0.3, np.random.default_rng(0))
    expected_BCHW = 0.3 * IMAGES_BCHW.double() + 0.7 * partner_BCHW.double()
    assert share == 0.3
    torch.testing.assert_close(x_BCHW.double(), expected_BCHW, rtol=0, atol=1e-4)


def test_cutmix_keeps_the_share_of_the_pixels_that_it_says() -> None:
    """Whatever is drawn, and where the rectangle leaves the image."""
    rng = np.random.default_rng(0)
    for drawn in rng.beta(1.0, 1.0, size=300):
        x_BCHW, share = CutMix().mix(BLACK_BCHW, WHITE_BCHW, float(drawn), rng)
        kept_BCHW = x_BCHW == 0
        assert kept_BCHW.double().mean().item() == pytest.approx(share, abs=1e-12)
        window_HW = ~kept_BCHW[0, 0]
        rows, columns = window_HW.any(dim=1).sum(), window_HW.any(dim=0).sum()
        assert window_HW.sum() == rows * columns, "one rectangle"
        assert (kept_BCHW == kept_BCHW[:1, :1]).all(), "the same in all images and channels"
        assert share >= drawn - 0.01


def test_cutmix_pastes_the_partner_where_it_stood() -> None:
    x_BCHW, share = CutMix().mix(IMAGES_BCHW, IMAGES_BCHW.flip(0), 0.5, np.random.default_rng(0))
    own, other = x_BCHW == IMAGES_BCHW, x_BCHW == IMAGES_BCHW.flip(0)
    assert (own | other).all() and 0 < share < 1
    assert x_BCHW.dtype == torch.uint8


def test_the_rectangle_lies_everywhere() -> None:
    """Its center is uniform over the image, so that the border is covered half as often as the middle."""
    rng = np.random.default_rng(0)
    covered_HW = torch.stack([CutMix().mix(BLACK_BCHW[:1], WHITE_BCHW[:1], 0.75, rng)[0][0, 0] for _ in range(3000)])
    often_HW = (covered_HW > 0).double().mean(dim=0)
    assert often_HW[8, 12].item() == pytest.approx(0.25, abs=0.04)
    assert often_HW[0, 12].item() == pytest.approx(0.14, abs=0.04)
    assert often_HW[:, 4:20].std(dim=1).max() < 0.03
