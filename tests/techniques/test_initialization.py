"""What the new classifier starts from."""

from __future__ import annotations

import pytest
import torch

from finetune_advisor.techniques.initialization import Fitted, Gaussian, Probe, Zeros


def fill(technique: Zeros | Gaussian, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    linear = torch.nn.Linear(200, 100)
    technique.fill(linear.weight, linear.bias, torch.Generator().manual_seed(seed))
    return linear.weight.detach(), linear.bias.detach()


def test_zeros_leave_nothing_of_what_was_there() -> None:
    weight_KD, bias_K = fill(Zeros())
    assert not weight_KD.any()
    assert not bias_K.any()


def test_gaussian_weights_have_the_stated_deviation_and_no_bias() -> None:
    weight_KD, bias_K = fill(Gaussian(std=0.05))
    assert weight_KD.std().item() == pytest.approx(0.05, rel=0.05)
    assert weight_KD.mean().item() == pytest.approx(0, abs=0.002)
    assert not bias_K.any()


def test_gaussian_weights_follow_from_the_generator_alone() -> None:
    assert torch.equal(fill(Gaussian())[0], fill(Gaussian())[0])
    assert not torch.equal(fill(Gaussian())[0], fill(Gaussian(), seed=1)[0])


def test_the_probe_start_is_the_fitted_classifier() -> None:
    fitted = Fitted(torch.arange(6.0).view(2, 3), torch.tensor([1.0, -2.0]))
    linear = torch.nn.Linear(3, 2)
    Probe().fill(linear.weight, linear.bias, torch.Generator(), fitted=fitted)
    assert linear(torch.tensor([[1.0, 0.0, 2.0]])).tolist() == [[5.0, 11.0]]


def test_a_convolution_as_classifier_can_start_from_it_too() -> None:
    layer = torch.nn.Conv2d(3, 2, 1)
    assert layer.bias is not None
    Probe().fill(layer.weight, layer.bias, torch.Generator(), fitted=Fitted(torch.ones(2, 3), torch.zeros(2)))
    assert layer(torch.ones(1, 3, 1, 1)).flatten().tolist() == [3.0, 3.0]
