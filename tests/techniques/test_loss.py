"""Cross entropy against its formula, and against torch's own mean.

Shapes: B images, K classes.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from finetune_advisor.techniques.loss import CrossEntropy

SMOOTHING = pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
LOGITS_BK = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
LABELS_B = torch.arange(16) % 5


@SMOOTHING
def test_it_is_the_cross_entropy_of_the_smoothed_label(smoothing: float) -> None:
    target_BK = (1 - smoothing) * functional.one_hot(LABELS_B, 5) + smoothing / 5
    expected_B = -(target_BK * LOGITS_BK.log_softmax(dim=1)).sum(dim=1)
    torch.testing.assert_close(CrossEntropy(label_smoothing=smoothing).per_image(LOGITS_BK, LABELS_B), expected_B)


@SMOOTHING
def test_its_weighted_mean_is_the_loss_of_torch(smoothing: float) -> None:
    weight_K = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.1])
    loss_B = CrossEntropy(label_smoothing=smoothing).per_image(LOGITS_BK, LABELS_B, weight_K)
    expected = functional.cross_entropy(LOGITS_BK, LABELS_B, weight=weight_K, label_smoothing=smoothing)
    torch.testing.assert_close(loss_B.sum() / weight_K[LABELS_B].sum(), expected)
