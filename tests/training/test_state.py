"""A checkpoint gives back everything, and one that cannot be used says why."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from finetune_advisor.errors import RunError, StorageError
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.techniques.optimizer import Timm
from finetune_advisor.techniques.schedule import ScheduleState
from finetune_advisor.training.state import CHECKPOINT_FORMAT, Identity, Tally, TrainState, load_weights
from finetune_advisor.training.watch import Spent

MINE = Identity(
    recipe=load_recipe("few_layers", ["data.path=here"]),
    weights="digest",
    classes=("ants", "bees"),
    images={"a.png": b"12345678", "b.png": b"abcdefgh"},
)

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), lr=0.1),
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
    "plain sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
    "numbers beside tensors": lambda net: Timm(name="laprop").build([{"params": list(net.parameters()), "lr": 0.01}]),
    "a flag beside tensors": lambda net: Timm(name="muon").build([{"params": list(net.parameters()), "lr": 0.01}]),
}


def new_state(optimizer: str = "adamw", *, width: int = 4, seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, 2))
    net.to(memory_format=torch.channels_last)
    return TrainState(net, OPTIMIZERS[optimizer](net))


def take_steps(state: TrainState, count: int) -> None:
    for _ in range(count):
        generator = torch.Generator().manual_seed(state.step)
        state.optimizer.zero_grad()
        state.net(torch.randn(5, 3, 4, 4, generator=generator)).square().mean().backward()
        state.optimizer.step()
        state.step += 1


def trained(optimizer: str = "adamw") -> TrainState:
    state = new_state(optimizer)
    take_steps(state, 3)
    state.schedule = ScheduleState(best=0.1 + 0.2, bad_evaluations=1, factor=0.2)
    state.best, state.best_step, state.stale_evaluations = (1 / 3, -0.7), 2, 1
    state.rate_factor, state.retries, state.micro_batch, state.events = 0.5, 1, 2, ["went back"]
    state.tally = Tally(images=7, loss_sum=0.1 * 3, correct=4)
    state.spent = Spent(images=1.5, training=0.1 * 3)
    return state


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "last.safetensors"
    trained().save(path, identity=MINE)
    return path


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    state = trained(optimizer)
    state.save(tmp_path / "last.safetensors", identity=MINE)
    restored = new_state(optimizer, seed=1)
    restored.load(tmp_path / "last.safetensors", identity=MINE)
    for name in (
        "step",
        "schedule",
        "best",
        "best_step",
        "stale_evaluations",
        "tally",
        "spent",
        "rate_factor",
        "retries",
        "micro_batch",
        "events",
    ):
        assert getattr(restored, name) == getattr(state, name), name
    take_steps(state, 3)
    take_steps(restored, 3)
    torch.testing.assert_close(restored.net.state_dict(), state.net.state_dict(), rtol=0, atol=0)


def test_moments_lie_in_memory_as_their_weights_do(tmp_path: Path) -> None:
    """Files keep the order of axes alone; a GPU that takes a step as one program refuses any other layout."""
    before, after = trained(), new_state(seed=1)
    before.save(tmp_path / "last.safetensors", identity=MINE)
    after.load(tmp_path / "last.safetensors", identity=MINE)
    filters = next(after.net.parameters())
    assert not filters.is_contiguous(), "of channels last"
    for parameter, moments in after.optimizer.state.items():
        assert moments["exp_avg"].stride() == parameter.stride()
        assert moments["exp_avg_sq"].stride() == parameter.stride()


def test_a_checkpoint_from_before_the_first_step(tmp_path: Path) -> None:
    state = new_state()
    state.save(tmp_path / "last.safetensors", identity=MINE)
    restored = new_state(seed=1)
    restored.load(tmp_path / "last.safetensors", identity=MINE)
    assert (restored.step, restored.best) == (0, None)
    torch.testing.assert_close(restored.net.state_dict(), state.net.state_dict(), rtol=0, atol=0)


def test_the_file_holds_no_pickle(checkpoint: Path) -> None:
    with safe_open(checkpoint, framework="pt") as stream:
        assert json.loads(stream.metadata()["state"])["step"] == 3
        assert "net.0.weight" in stream.keys()  # noqa: SIM118
        assert "optimizer.0.exp_avg" in stream.keys()  # noqa: SIM118


def test_the_weights_alone_can_be_taken(checkpoint: Path) -> None:
    net = new_state(seed=1).net
    load_weights(net, checkpoint)
    torch.testing.assert_close(net.state_dict(), trained().net.state_dict(), rtol=0, atol=0)


def error_of(path: Path, state: TrainState | None = None, identity: Identity = MINE) -> RunError:
    with pytest.raises(RunError) as caught:
        (state or new_state()).load(path, identity=identity)
    assert str(path) in caught.value.message
    return caught.value


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    error = error_of(tmp_path / "last.safetensors")
    assert "There is no checkpoint" in error.message
    assert "without --resume" in str(error.hint)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint(checkpoint: Path, share: float) -> None:
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: int(len(whole) * share)])
    assert "is damaged" in error_of(checkpoint).message
    with pytest.raises(RunError, match="is damaged"):
        load_weights(new_state().net, checkpoint)


def test_a_safetensors_file_of_something_else(checkpoint: Path) -> None:
    save_file({"weight": torch.zeros(2)}, checkpoint)
    assert "is damaged" in error_of(checkpoint).message


CHANGES = {
    "recipe": (
        {"recipe": load_recipe("few_layers", ["data.path=there", "optimizer.lr=0.5", "data.path=elsewhere"])},
        "optimizer.lr was 0.003 and is 0.5",
    ),
    "classes": ({"classes": ("bees", "wasps")}, "the classes were ants, bees and are bees, wasps"),
    "weights": ({"weights": "another"}, "the backbone's weights differ"),
    "a changed image": ({"images": {"a.png": b"12345678", "b.png": b"CHANGED!"}}, "1 image changed: b.png"),
    "a new image": ({"images": dict.fromkeys("abc", b"12345678")}, "there were 2 images and are 3"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_checkpoint_of_another_run_says_what_differs_and_nothing_is_taken(checkpoint: Path, what: str) -> None:
    changed, sentence = CHANGES[what]
    state = new_state(seed=1)
    before = [value.clone() for value in state.net.state_dict().values()]
    error = error_of(checkpoint, state, identity=replace(MINE, **changed))  # type: ignore[arg-type]
    assert error.message.endswith(f"describe now: {sentence}.")
    assert "new run" in str(error.hint)
    assert all(map(torch.equal, before, state.net.state_dict().values())), "nothing was taken from it"
    assert state.step == 0


def test_where_things_are_and_how_fast_they_go_may_change(checkpoint: Path) -> None:
    free = load_recipe(
        "few_layers", ["data.path=moved", "runtime.workers=7", "runtime.retries=3", "optimizer.micro_batch=2"]
    )
    new_state().load(checkpoint, identity=replace(MINE, recipe=free))


def test_a_checkpoint_of_another_version(checkpoint: Path) -> None:
    with safe_open(checkpoint, framework="pt") as stream:
        counters = json.loads(stream.metadata()["state"])
    save_file(load_file(checkpoint), checkpoint, metadata={"state": json.dumps({**counters, "format": 99})})
    error = error_of(checkpoint)
    assert "format 99" in error.message
    assert f"reads format {CHECKPOINT_FORMAT}" in error.message


def test_another_network(checkpoint: Path) -> None:
    assert "does not fit this network" in error_of(checkpoint, new_state(width=8)).message
    with pytest.raises(RunError, match="does not fit this network"):
        load_weights(new_state(width=8).net, checkpoint)


def test_a_full_disk_leaves_the_previous_checkpoint(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(path: Path, data: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    before = checkpoint.read_bytes()
    state = trained()
    take_steps(state, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_space)
        with pytest.raises(StorageError, match="the disk is full") as caught:
            state.save(checkpoint, identity=MINE)
    assert str(checkpoint) in caught.value.message
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name], "no leftovers"
    new_state().load(checkpoint, identity=MINE)
