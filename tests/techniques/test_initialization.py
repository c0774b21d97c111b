"""What the new classifier starts from."""

from __future__ import annotations

import pytest
import torch

from finetune_advisor.techniques.initialization import (
    Calibrated,
    Fitted,
    Gaussian,
    He,
    Initialization,
    Probe,
    Uniform,
    Zeros,
)


def fill(technique: Initialization, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
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


def test_uniform_weights_lie_between_the_bounds() -> None:
    weight_KD, bias_K = fill(Uniform(limit=0.03))
    assert weight_KD.abs().max() <= 0.03
    assert weight_KD.std().item() == pytest.approx(0.06 / 12**0.5, rel=0.05)
    assert not bias_K.any()


@pytest.mark.parametrize(
    ("technique", "kept"),
    [
        (He(), 1.0),
        (Calibrated(), 1 / 2),
        (Gaussian(std=0.05), 512 * 0.05**2 / 2),
        (Gaussian(std=0.001), 512 * 0.001**2 / 2),
        (Uniform(limit=0.05), 512 * 0.05**2 / 3 / 2),
    ],
    ids=["he", "calibrated", "gaussian 0.05", "gaussian 0.001", "uniform"],
)
def test_the_signal_through_thirty_relu_layers_is_that_of_the_formula(technique: Initialization, kept: float) -> None:
    """The mean square of n outputs is n Var(w) / 2 times that of the inputs: only He keeps it."""
    generator = torch.Generator().manual_seed(0)
    x_BD = torch.randn(256, 512, generator=generator, dtype=torch.float64)
    layer = torch.nn.Linear(512, 512, dtype=torch.float64)
    before = x_BD.square().mean()
    for _ in range(30):
        technique.fill(layer.weight, layer.bias, generator)
        x_BD = layer(x_BD).detach()
        after, x_BD = x_BD.square().mean() / 2, x_BD.relu()
    assert (after / before).log().item() / 30 == pytest.approx(torch.tensor(kept).log().item(), abs=0.05)


def test_a_neuron_of_a_convolution_has_the_inputs_of_its_whole_window() -> None:
    layer = torch.nn.Conv2d(16, 64, 3)
    assert layer.bias is not None
    He().fill(layer.weight, layer.bias, torch.Generator().manual_seed(0))
    assert layer.weight.std().item() == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.05)


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
