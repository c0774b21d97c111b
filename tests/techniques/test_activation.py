"""Each activation is its formula; random slopes are checked by their statistics.

Shapes: B images, C channels, H and W positions, K units.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import kstest, uniform
from torch import Tensor, nn

from finetune_advisor.techniques.activation import Activation, LeakyRelu, Maxout, Prelu, Relu, Rrelu, Sigmoid, Tanh
from finetune_advisor.techniques.optimizer import Sgd

Floats = npt.NDArray[np.float32]


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("technique", "expected"),
    [
        (Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (Tanh(), lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))),
        (Relu(), lambda x: np.where(x > 0, x, 0)),
        (LeakyRelu(a=100.0), lambda x: np.where(x > 0, x, x / 100)),
        (LeakyRelu(a=5.5), lambda x: np.where(x > 0, x, x / 5.5)),
        (Prelu(start=0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    ],
    ids=["sigmoid", "tanh", "relu", "leaky_relu 100", "leaky_relu 5.5", "prelu"],
)
def test_it_is_the_slides_formula(technique: Activation, expected: Callable[[Floats], Floats]) -> None:
    x_BCHW = numbers(3, 4, 5, 5)
    found = technique.module(4)(x_BCHW).detach().numpy()
    np.testing.assert_allclose(found, expected(x_BCHW.numpy()), rtol=1e-5, atol=1e-7)


def test_maxout_is_the_larger_of_two_linear_functions() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4 * 2)
    x_BD = numbers(5, 6)
    w_KPD, b_KP = layer.weight.detach().numpy().reshape(4, 2, 6), layer.bias.detach().numpy().reshape(4, 2)
    x = x_BD.numpy()
    expected_BK = np.maximum(x @ w_KPD[:, 0].T + b_KP[:, 0], x @ w_KPD[:, 1].T + b_KP[:, 1])
    technique = Maxout()
    assert technique.inputs_per_unit == 2
    np.testing.assert_allclose(technique.module(4)(layer(x_BD)).detach().numpy(), expected_BK, rtol=1e-5, atol=1e-6)


def test_in_training_rrelu_divides_by_a_uniform_number_of_its_own_for_every_element() -> None:
    module = Rrelu(lower=3.0, upper=8.0).module(1).train()
    x = torch.full((100, 100), -1.0)
    torch.manual_seed(0)
    a = (-1 / module(x)).flatten()
    assert a.min() >= 3.0 and a.max() <= 8.0
    assert len(a.unique()) > 9_900
    assert kstest(a.numpy(), uniform(3, 5).cdf).pvalue > 0.01
    # The slope 1 / a is not uniform itself, as torch.nn.RReLU's is: its mean is ln(u / l) / (u - l).
    assert (1 / a).mean().item() == pytest.approx(np.log(8 / 3) / 5, abs=0.002)
    assert kstest((1 / a).numpy(), uniform(1 / 8, 1 / 3 - 1 / 8).cdf).pvalue < 1e-6
    assert torch.equal(module(torch.ones(3)), torch.ones(3))


def test_in_test_rrelu_takes_the_mean_of_the_interval() -> None:
    module = Rrelu(lower=3.0, upper=8.0).module(1).eval()
    x = numbers(50)
    np.testing.assert_allclose(module(x).numpy(), np.where(x > 0, x, x * 2 / (3 + 8)), rtol=1e-6)


def test_rrelu_passes_the_gradient_by_the_slope_it_drew() -> None:
    module = Rrelu().module(1).train()
    x = torch.tensor([-2.0, 3.0], requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([(y[0] / -2).item(), 1.0])


@pytest.mark.parametrize(("shared", "slopes"), [(True, 1), (False, 4)])
def test_the_gradient_of_a_slope_is_summed_over_the_channel(shared: bool, slopes: int) -> None:
    module = Prelu(shared=shared).module(4)
    slope = module.get_parameter("weight")
    x_BCHW, upstream_BCHW = numbers(2, 4, 3, 3), numbers(2, 4, 3, 3).flip(0)
    module(x_BCHW).backward(upstream_BCHW)
    expected_C = np.where(x_BCHW > 0, 0, x_BCHW * upstream_BCHW).sum(axis=(0, 2, 3))
    assert slope.shape == (slopes,) and slope.grad is not None
    expected = [expected_C.sum()] if shared else expected_C
    np.testing.assert_allclose(slope.grad.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_sgd_moves_a_slope_by_the_momentum_of_the_slides() -> None:
    """delta := mu delta + epsilon gradient; a := a - delta."""
    module = Prelu(shared=True).module(1)
    slope = module.get_parameter("weight")
    optimizer = Sgd(lr=0.1, momentum=0.9).build([{"params": [slope], "lr": 0.1}])
    a, delta = 0.25, 0.0
    for step in range(4):
        x = numbers(20) * (step + 1)
        optimizer.zero_grad()
        module(x).sum().backward()
        delta = 0.9 * delta + 0.1 * x[x <= 0].sum().item()
        a -= delta
        optimizer.step()
        assert slope.item() == pytest.approx(a, rel=1e-4)
