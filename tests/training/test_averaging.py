"""Averages of the weights against timm's and torch's, and how they take the network's place.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from finetune_advisor.loading.batches import Batch
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.averaging import Averaging, Ema, Swa
from finetune_advisor.techniques.loss import CrossEntropy
from finetune_advisor.techniques.schedule import Constant
from finetune_advisor.training.averaging import fit_batch_norm
from finetune_advisor.training.loop import Evaluation, Method, fit
from finetune_advisor.training.param_groups import Regularizer
from finetune_advisor.training.state import Identity, TrainState, load_weights
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

MINE = Identity(load_recipe("few_layers"), "weights", ("ants", "bees"), {"ants/1.png": b"01234567"})

STEPS, EPOCH, CLASSES = 12, 3, 3
CPU = torch.device("cpu")


def new_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5))
    return net.append(nn.Linear(16, CLASSES)).to(memory_format=torch.channels_last)


def new_state() -> TrainState:
    net = new_net()
    group = {"params": list(net.parameters()), "lr": 0.1, "peak_lr": 0.1, "name": "all", "decays": True}
    return TrainState(net, torch.optim.SGD([group], momentum=0.9))


def batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    x_BCHW = torch.randn(6, 3, 4, 4, generator=generator)
    labels_B = torch.randint(0, CLASSES, (6,), generator=generator)
    return Batch(step, 0, x_BCHW, labels_B, tuple("abcdef"), 6)


def method(averaging: Averaging | None) -> Method:
    return Method(
        loss=CrossEntropy(),
        schedule=Constant(),
        averaging=averaging,
        regularizer=Regularizer(),
        clip=None,
        class_weight_K=None,
        seed=0,
        steps=STEPS,
        steps_per_epoch=EPOCH,
        micro_batch=6,
        precision=torch.float32,
        device=CPU,
    )


def trained(averaging: Averaging | None, *, after_step: Callable[[nn.Module, int], None] | None = None) -> TrainState:
    """A state after all steps; `after_step` sees the network after each, as a reference would."""
    state = new_state()

    def batches() -> Iterator[Batch]:
        for step in range(STEPS):
            yield batch(step)
            if after_step:
                after_step(state.net, step + 1)

    made = method(averaging)
    records = fit(
        state,
        batches(),
        made,
        forward=state.net,
        set_mode=state.net.train,
        evaluate=lambda: Evaluation(0.5, 0.5, 1.0),
        on_step=lambda progress: None,
    )
    assert len(list(records)) == STEPS // EPOCH
    return state


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_ema_is_timms(decay: float) -> None:
    theirs = ModelEmaV3(new_net(), decay=decay, use_warmup=True, warmup_power=2 / 3)
    state = trained(Ema(decay=decay), after_step=lambda net, step: theirs.update(net, step))
    expected = theirs.module.state_dict()
    assert state.average.count == STEPS
    assert {"0.weight", "1.weight", "1.running_var", "5.bias"} <= state.average.tensors.keys()
    for name, value in state.average.tensors.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(state.average.tensors["5.weight"], state.net.state_dict()["5.weight"], atol=1e-3)


def test_a_power_of_one_without_a_limit_counts_all_steps_the_same() -> None:
    seen: list[Tensor] = []
    state = trained(
        Ema(decay=1 - 1e-9, power=1.0),
        after_step=lambda net, step: seen.append(net.state_dict()["5.weight"].clone()),
    )
    torch.testing.assert_close(state.average.tensors["5.weight"], torch.stack(seen).mean(0), rtol=1e-5, atol=1e-6)


def test_swa_is_torchs_average_over_the_epochs_after_its_start() -> None:
    theirs = AveragedModel(new_net())

    def update(net: nn.Module, step: int) -> None:
        if step in (9, 12):  # half of 12 steps is the end of the second epoch, which does not count
            theirs.update_parameters(net)

    state = trained(Swa(start=0.5), after_step=update)
    assert state.average.count == 2
    expected = dict(theirs.module.named_parameters())
    for name in expected:
        torch.testing.assert_close(state.average.tensors[name], expected[name].detach(), rtol=1e-5, atol=1e-6)


def test_swa_holds_the_rate_from_its_start_on_and_ema_leaves_it_alone() -> None:
    assert [method(Swa(start=0.5, lr_factor=0.2)).multiplier(step) for step in (0, 5, 6, 11)] == [1, 1, 0.2, 0.2]
    assert method(Swa(start=0.5, lr_factor=None)).multiplier(11) == 1
    assert method(Ema()).multiplier(11) == 1


def test_averaging_changes_nothing_about_the_steps() -> None:
    plain, averaged = trained(None), trained(Ema())
    torch.testing.assert_close(averaged.net.state_dict(), plain.net.state_dict(), rtol=0, atol=0)
    assert not plain.average.tensors


def test_the_network_is_the_average_inside_and_what_it_was_afterward() -> None:
    state = trained(Ema())
    before, inside = copy.deepcopy(state.net.state_dict()), copy.deepcopy(state.average.tensors)
    with pytest.raises(KeyError), state.average.inside(state.moving):
        for name, value in inside.items():
            torch.testing.assert_close(state.net.state_dict()[name], value, rtol=0, atol=0)
        raise KeyError
    torch.testing.assert_close(state.net.state_dict(), before, rtol=0, atol=0)


def test_statistics_are_measured_as_torchs_update_bn_does() -> None:
    ours, theirs = new_net(), new_net()
    dropout = theirs[4]
    assert isinstance(dropout, nn.Dropout)
    dropout.p = 0.0
    fit_batch_norm(ours, lambda: map(batch, range(4)), forward=ours, set_mode=ours.train, device=CPU)
    update_bn((batch(step).inputs for step in range(4)), theirs)
    torch.testing.assert_close(ours[1].state_dict(), theirs[1].state_dict())
    assert ours[1].momentum == new_net()[1].momentum
    assert not any(module.training for module in ours.modules())


def test_frozen_statistics_stay_and_no_image_is_read_for_them() -> None:
    net = new_net()
    before = copy.deepcopy(net.state_dict())

    def unread() -> Iterator[Batch]:
        raise AssertionError
        yield

    def set_mode() -> None:
        net.train()
        net[1].eval()

    fit_batch_norm(net, unread, forward=net, set_mode=set_mode, device=CPU)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_measured_statistics_stay_in_the_average_alone() -> None:
    state = trained(Swa(start=0.5))
    before = state.net[1].running_mean.clone()  # type: ignore[index]
    with state.average.inside(state.moving):
        fit_batch_norm(state.net, lambda: map(batch, range(4)), forward=state.net, set_mode=state.net.train, device=CPU)
        measured = state.net[1].running_mean.clone()  # type: ignore[index]
    torch.testing.assert_close(state.average.tensors["1.running_mean"], measured, rtol=0, atol=0)
    torch.testing.assert_close(state.net[1].running_mean, before, rtol=0, atol=0)  # type: ignore[index]
    assert not torch.allclose(measured, before)


def test_a_checkpoint_holds_both_and_the_average_is_what_is_taken_from_it(tmp_path: Path) -> None:
    state, path = trained(Ema()), tmp_path / "last.safetensors"
    state.save(path, identity=MINE)
    restored = new_state()
    restored.load(path, identity=MINE)
    assert restored.average.count == state.average.count
    torch.testing.assert_close(restored.average.tensors, state.average.tensors, rtol=0, atol=0)
    torch.testing.assert_close(restored.net.state_dict(), state.net.state_dict(), rtol=0, atol=0)
    layouts = [{name: value.stride() for name, value in s.average.tensors.items()} for s in (state, restored)]
    assert layouts[0] == layouts[1], "another order of sums would change the last bits"
    net = new_net()
    load_weights(net, path)
    torch.testing.assert_close(net.state_dict(), state.net.state_dict() | state.average.tensors, rtol=0, atol=0)


def test_validation_and_the_model_are_of_the_average(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder({"ants": 10, "bees": 10})
    shared = ("budget.epochs=2", "optimizer.batch=8", "optimizer.lr=0.05", "strategy.batch_norm=train")
    averaged = train(recipe("few_layers", data, *shared, "averaging={kind: ema}"), RunDir(tmp_path / "averaged"))
    plain = train(recipe("few_layers", data, *shared), RunDir(tmp_path / "plain"))
    ours, theirs = averaged.load_history(), plain.load_history()
    assert [record.train_loss for record in ours] == [record.train_loss for record in theirs]
    assert all(one.val_loss != other.val_loss for one, other in zip(ours, theirs, strict=True))
    kept, best = load_file(averaged.model / "model.safetensors"), load_file(averaged.best)
    names = {name.removeprefix("average.") for name in best if name.startswith("average.")}
    assert {name for name in names if name.endswith("running_mean")}
    for name in names:
        torch.testing.assert_close(kept[name], best[f"average.{name}"], rtol=0, atol=0)
