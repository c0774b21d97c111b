"""Losses against their formulas, and cross entropy against torch's own mean.

Shapes: B images, K classes.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from finetune_advisor.techniques.loss import CrossEntropy, Focal, Loss

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


@SMOOTHING
def test_a_mixed_label_has_the_losses_of_its_parts(smoothing: float) -> None:
    loss, weight_K = CrossEntropy(label_smoothing=smoothing), torch.tensor([0.5, 1.0, 2.0, 4.0, 0.1])
    other_B = LABELS_B.flip(0)
    mixed_BK = 0.3 * functional.one_hot(LABELS_B, 5) + 0.7 * functional.one_hot(other_B, 5)
    parts = [loss.per_image(LOGITS_BK, labels_B, weight_K) for labels_B in (LABELS_B, other_B)]
    torch.testing.assert_close(loss.per_image(LOGITS_BK, mixed_BK, weight_K), 0.3 * parts[0] + 0.7 * parts[1])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_its_formula(gamma: float) -> None:
    p_B = LOGITS_BK.double().softmax(dim=1)[torch.arange(16), LABELS_B]
    weight_K = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.1])
    expected_B = weight_K[LABELS_B] * (1 - p_B) ** gamma * -p_B.log()
    found_B = Focal(gamma=gamma).per_image(LOGITS_BK, LABELS_B, weight_K)
    torch.testing.assert_close(found_B.double(), expected_B, rtol=1e-5, atol=1e-6)


def test_focal_loss_has_a_gradient_where_the_network_is_certain() -> None:
    logits_BK = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    Focal(gamma=0.5).per_image(logits_BK, torch.tensor([0, 0])).sum().backward()
    assert logits_BK.grad is not None and logits_BK.grad.isfinite().all()


@SMOOTHING
def test_the_lowest_cross_entropy_is_what_the_best_logits_reach(smoothing: float) -> None:
    loss, target_BK = CrossEntropy(label_smoothing=smoothing), torch.tensor([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0]])
    smoothed_BK = (1 - smoothing) * target_BK + smoothing / 3
    best_B = loss.per_image(smoothed_BK.clamp_min(1e-30).log(), target_BK)
    assert [loss.lowest(target_K) for target_K in target_BK.tolist()] == pytest.approx(best_B.tolist(), abs=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0.1), Focal(gamma=0.0), Focal(gamma=2.0)])
def test_the_loss_at_chance_is_that_of_equal_logits(loss: Loss) -> None:
    found_B = loss.per_image(torch.zeros(4, 5), torch.arange(4))
    assert found_B.tolist() == pytest.approx([loss.at_chance(5)] * 4, abs=1e-5)
