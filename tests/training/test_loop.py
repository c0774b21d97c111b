"""A step of the loop is the step that the textbook says; the rates follow the schedule; nothing goes wrong unseen.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune_advisor.errors import RunError
from finetune_advisor.loading.batches import Batch, BatchPlan, normalize
from finetune_advisor.recipes.recipe import Budget
from finetune_advisor.records.history import Record
from finetune_advisor.techniques.loss import CrossEntropy
from finetune_advisor.techniques.optimizer import AdamW, Optimizer, Sgd
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.techniques.regularization import L2
from finetune_advisor.techniques.schedule import Constant, Cosine, OneCycle, Plateau
from finetune_advisor.training.loop import (
    Evaluation,
    Method,
    NotFinite,
    Numbers,
    Step,
    compute_gradients,
    fit,
    step_seed,
)
from finetune_advisor.training.network import steps_of
from finetune_advisor.training.param_groups import Regularizer
from finetune_advisor.training.state import TrainState
from finetune_advisor.training.watch import Progress

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CLASSES = 3
NEVER = 10**6

PREPROCESS = Preprocess(4, "stretch", 1.0, "nearest", MEAN, STD)

METHOD = Method(
    loss=CrossEntropy(),
    schedule=Constant(),
    averaging=None,
    regularizer=Regularizer(),
    clip=None,
    class_weight_K=None,
    seed=0,
    steps=4,
    steps_per_epoch=NEVER,
    micro_batch=NEVER,
    precision=torch.float32,
    device=torch.device("cpu"),
)


class Net(nn.Module):
    """A body and a head, with dropout between them if asked for."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Linear(3 * 4 * 4, 5)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self.dropout(torch.tanh(self.body(x_BCHW.flatten(1)))))
        return logits_BK


def new_net(dropout: float = 0.0) -> Net:
    torch.manual_seed(3)
    return Net(dropout)


def grouped(net: Net, lr: float) -> list[dict[str, object]]:
    """Head at the full rate, body at a tenth; biases do not decay."""
    return [
        {
            "params": [layer.weight if decays else layer.bias],
            "names": [f"{name}.weight" if decays else f"{name}.bias"],
            "lr": rate,
            "peak_lr": rate,
            "name": name,
            "decays": decays,
            "new": name == "head",
        }
        for name, layer, rate in (("head", net.head, lr), ("body", net.body, lr / 10))
        for decays in (True, False)
    ]


def state_of(net: Net, optimizer: Optimizer) -> TrainState:
    return TrainState(net, optimizer.build(grouped(net, optimizer.lr)))


def batch(step: int, images: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(step)
    x_BCHW = torch.randint(0, 256, (images, 3, 4, 4), generator=generator, dtype=torch.uint8)
    labels_B = torch.randint(0, CLASSES, (images,), generator=generator)
    return Batch(step, 0, x_BCHW, labels_B, tuple(f"ants/{step}-{number}.png" for number in range(images)), images)


def input_BCHW(made: Batch) -> Tensor:  # noqa: N802 - named like the tensor
    mean_C, std_C = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (made.inputs.float() / 255 - mean_C) / std_C


@dataclass
class Course:
    """Runs the loop and remembers what it was told."""

    state: TrainState
    method: Method
    metrics: Sequence[float] = (0.5,) * 100
    losses: Sequence[float] = (1.5,) * 100
    steps: list[Progress] = field(default_factory=list)
    rates: list[dict[str, float]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    evaluated: int = 0

    def run(self, batches: Iterable[Batch] | None = None) -> Course:
        made = batches if batches is not None else map(batch, range(self.state.step, self.method.steps))
        net = self.state.net
        self.records += fit(
            self.state,
            made,
            self.method,
            forward=lambda x_BCHW: net(normalize(x_BCHW, PREPROCESS)),
            set_mode=net.train,
            evaluate=self._evaluate,
            on_step=self._on_step,
        )
        return self

    def _on_step(self, progress: Progress) -> None:
        self.steps.append(progress)
        self.rates.append({group["name"]: group["lr"] for group in self.state.optimizer.param_groups})

    def _evaluate(self) -> Evaluation:
        self.state.net.eval()
        self.evaluated += 1
        number = self.evaluated - 1
        return Evaluation(self.metrics[number], accuracy=0.25, loss=self.losses[number])


def textbook(net: Net, optimizer: torch.optim.Optimizer, steps: int, weight_K: Tensor | None = None) -> None:
    """The steps as anybody would write them."""
    for number in range(steps):
        made = batch(number)
        optimizer.zero_grad()
        loss_B = functional.cross_entropy(net(input_BCHW(made)), made.labels_B, reduction="none")
        if weight_K is not None:
            loss_B = loss_B * weight_K[made.labels_B]
        loss_B.mean().backward()
        optimizer.step()


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)


def decaying(net: Net, lr: float, strength: float) -> list[dict[str, object]]:
    return [
        {"params": group["params"], "lr": group["lr"], "weight_decay": strength if group["decays"] else 0.0}
        for group in grouped(net, lr)
    ]


def test_sgd_with_coupled_l2_is_torchs() -> None:
    net, reference = new_net(), new_net()
    method = replace(METHOD, regularizer=Regularizer((L2(strength=0.1, decoupled=False),)))
    Course(state_of(net, Sgd(lr=0.3, momentum=0.9)), method).run()
    textbook(reference, torch.optim.SGD(decaying(reference, 0.3, 0.1), momentum=0.9), 4)
    assert_same(net, reference)


def test_adamw_with_decoupled_l2_is_torchs() -> None:
    net, reference = new_net(), new_net()
    method = replace(METHOD, regularizer=Regularizer((L2(strength=0.2, decoupled=True),)))
    Course(state_of(net, AdamW(lr=0.05)), method).run()
    textbook(reference, torch.optim.AdamW(decaying(reference, 0.05, 0.2)), 4)
    assert_same(net, reference)


def test_class_weights_multiply_each_images_loss() -> None:
    net, reference = new_net(), new_net()
    weight_K = torch.tensor([0.2, 1.0, 3.0])
    Course(state_of(net, Sgd(lr=0.3)), replace(METHOD, class_weight_K=weight_K)).run()
    textbook(reference, torch.optim.SGD(decaying(reference, 0.3, 0.0), momentum=0.9), 4, weight_K)
    assert_same(net, reference)


def test_parts_of_a_batch_give_the_gradient_of_the_whole() -> None:
    """Also where the last part is smaller: the mean is over all images, not over parts."""
    whole, parts = state_of(new_net(), Sgd()), state_of(new_net(), Sgd())
    Course(whole, METHOD).run()
    Course(parts, replace(METHOD, micro_batch=4)).run()
    for one, other in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_clip_bounds_the_norm_of_the_whole_gradient(clip: float) -> None:
    net = new_net()
    before = copy.deepcopy(net)
    groups = [{**group, "lr": 1.0, "peak_lr": 1.0} for group in grouped(net, 1.0)]
    state = TrainState(net, torch.optim.SGD(groups))
    Course(state, replace(METHOD, clip=clip, steps=1)).run()
    textbook(reference := copy.deepcopy(before), torch.optim.SGD(reference.parameters(), lr=1.0), 1)

    def change(after: nn.Module) -> Tensor:
        pairs = zip(after.parameters(), before.parameters(), strict=True)
        return torch.cat([(new - old).detach().flatten() for new, old in pairs])

    whole = change(reference)
    assert whole.norm() > 0.01
    torch.testing.assert_close(change(net), whole * min(1.0, clip / float(whole.norm())), rtol=1e-4, atol=1e-6)


def test_the_rate_of_every_step_follows_the_schedule() -> None:
    schedule = OneCycle()
    method = replace(METHOD, schedule=schedule, steps=7)
    course = Course(state_of(new_net(), Sgd(lr=0.5)), method).run()
    expected = [schedule.multiplier(step / 7) for step in range(7)]
    assert [rates["head"] for rates in course.rates] == pytest.approx([0.5 * factor for factor in expected])
    assert [rates["body"] for rates in course.rates] == pytest.approx([0.05 * factor for factor in expected])
    assert course.records[-1].lr == course.rates[-1]


def test_a_plateau_of_the_metric_lowers_the_rate_of_the_steps_after_it() -> None:
    method = replace(METHOD, schedule=Plateau(factor=0.2, patience=1), steps=12, steps_per_epoch=2)
    course = Course(state_of(new_net(), Sgd(lr=0.5)), method, metrics=(0.5, 0.6, 0.6, 0.6, 0.6, 0.9)).run()
    rates = [round(rates["head"], 6) for rates in course.rates]
    assert rates == [0.5] * 8 + [0.1] * 4
    assert [record.lr["head"] for record in course.records if record.lr] == pytest.approx([0.5] * 4 + [0.1] * 2)


def test_a_record_sums_up_its_epoch() -> None:
    made = [batch(0, 6), batch(1, 2), batch(2, 6), batch(3, 2), batch(4, 6)]
    method = replace(METHOD, steps=5, steps_per_epoch=2)
    state = TrainState(new_net(), torch.optim.SGD([{**g, "lr": 0.0, "peak_lr": 0.0} for g in grouped(new_net(), 1.0)]))
    course = Course(state, method, metrics=(0.5, 0.7, 0.6)).run(made)
    assert [(record.step, record.epoch) for record in course.records] == [(2, 1.0), (4, 2.0), (5, 2.5)]
    with torch.no_grad():
        logits_BK = torch.cat([state.net(input_BCHW(part)) for part in made[:2]])
    labels_B = torch.cat([part.labels_B for part in made[:2]])
    first = course.records[0]
    assert first.train_loss == pytest.approx(float(functional.cross_entropy(logits_BK, labels_B)), rel=1e-5)
    assert first.train_accuracy == pytest.approx(float((logits_BK.argmax(1) == labels_B).float().mean()))
    assert (first.val_loss, first.val_accuracy) == (1.5, 0.25)
    assert (state.best, state.best_step, state.stale_evaluations) == ((0.7, -1.5), 4, 1)


@pytest.mark.parametrize(
    ("metrics", "losses", "best", "stale"),
    [
        ((0.9, 1.0, 1.0, 1.0), (0.4, 0.3, 0.1, 0.2), 3, 2),  # few images: a tie goes to the lower loss
        ((0.9, 1.0, 1.0, 1.0), (0.4, 0.3, 0.3, 0.3), 2, 2),  # and a tie of both to the earlier one
        ((0.9, 1.0, 0.8, 0.9), (0.4, 0.3, 0.1, 0.1), 2, 2),  # a low loss makes up for no metric
    ],
)
def test_the_best_evaluation_is_that_of_the_best_metric_then_of_the_lowest_loss(
    metrics: tuple[float, ...], losses: tuple[float, ...], best: int, stale: int
) -> None:
    method = replace(METHOD, steps=4, steps_per_epoch=1)
    state = state_of(new_net(), Sgd())
    Course(state, method, metrics=metrics, losses=losses).run()
    assert (state.best_step, state.stale_evaluations) == (best, stale)


def test_the_network_trains_on_in_training_mode_after_an_evaluation() -> None:
    modes: list[bool] = []
    state = state_of(new_net(), Sgd())
    course = Course(state, replace(METHOD, steps_per_epoch=1))
    remember = course._on_step

    def watch(progress: Progress) -> None:
        modes.append(state.net.training)
        remember(progress)

    course._on_step = watch  # type: ignore[method-assign]
    course.run()
    assert modes == [True] * 4
    assert course.evaluated == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_at_its_step_and_names_the_images(value: float) -> None:
    state = state_of(new_net(), Sgd())
    course = Course(state, METHOD)

    def spoiled() -> Iterable[Batch]:
        yield batch(0)
        with torch.no_grad():
            state.net.head.bias[0] = value  # type: ignore[union-attr, operator]
        yield batch(1, 2)

    with pytest.raises(RunError, match=r"The loss is nan at step 2.*ants/1-0\.png, ants/1-1\.png") as caught:
        course.run(spoiled())
    assert "--set optimizer.lr=" in str(caught.value.hint)
    assert state.step == 1, "a checkpoint made now would be one of the last good step"


def finished(dropout: float, method: Method, *, halt: Callable[[int], bool] = lambda step: False) -> dict[str, Tensor]:
    """Weights after a run that is stopped and continued from its own state wherever `halt` says so."""
    state = state_of(new_net(dropout), Sgd(lr=0.3))
    while state.step < method.steps:
        stop = next((step for step in range(state.step + 1, method.steps) if halt(step)), method.steps)
        torch.manual_seed(stop)  # whatever happened before
        Course(state, method).run(map(batch, range(state.step, stop)))
    return state.net.state_dict()


def test_dropout_is_drawn_from_the_seed_and_the_step_alone() -> None:
    once = finished(0.5, METHOD)
    torch.testing.assert_close(finished(0.5, METHOD, halt=lambda step: True), once, rtol=0, atol=0)
    assert not torch.equal(finished(0.5, replace(METHOD, seed=1))["head.weight"], once["head.weight"])
    assert not torch.equal(finished(0.0, METHOD)["head.weight"], once["head.weight"])


def test_every_step_draws_anew() -> None:
    assert len({step_seed(seed, step) for seed in range(20) for step in range(500)}) == 20 * 500
    assert step_seed(4, 2) == step_seed(4, 2)


def test_a_state_stopped_before_the_evaluation_of_its_epoch_is_evaluated_first() -> None:
    method = replace(METHOD, schedule=Cosine(), steps=4, steps_per_epoch=2)
    whole = Course(state_of(new_net(), Sgd()), method).run()
    state = state_of(new_net(), Sgd())

    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise Stopped

    first = Course(state, method)
    first._on_step = stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        first.run()
    rest = Course(state, method).run(())
    assert first.evaluated == rest.evaluated == 1
    [record] = rest.records
    [_, expected] = whole.records
    clock = {"seconds": 0.0, "images_per_second": 0.0}
    assert replace(record, **clock) == replace(expected, **clock)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget(epochs=3), 12),
        (Budget(steps=7), 7),
        (Budget(images=100), 4),
        (Budget(images=250), 10),
        (Budget(images=1), 1),
    ],
    ids=repr,
)
def test_every_unit_of_time_becomes_steps(budget: Budget, steps: int) -> None:
    assert steps_of(budget, BatchPlan(images=100, batch=30, seed=0)) == steps


def test_progress_counts_every_step() -> None:
    course = Course(state_of(new_net(), Sgd()), METHOD).run()
    assert [(progress.step, progress.steps) for progress in course.steps] == [(n, 4) for n in (1, 2, 3, 4)]
    assert all(progress.images_per_second > 0 and progress.loss > 0 for progress in course.steps)


def test_bfloat16_trains_weights_that_stay_float32() -> None:
    state = state_of(new_net(), Sgd(lr=0.3))
    exact = new_net()
    Course(state, replace(METHOD, precision=torch.bfloat16)).run()
    textbook(exact, torch.optim.SGD(decaying(exact, 0.3, 0.0), momentum=0.9), 4)
    assert {value.dtype for value in state.net.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(state.net.state_dict(), exact.state_dict(), rtol=0.1, atol=0.05)
    assert not torch.equal(state.net.state_dict()["head.weight"], exact.head.weight)


def test_a_device_that_works_on_is_asked_for_the_numbers_of_a_step_only_while_it_does_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    numbers = Step.numbers.func  # type: ignore[attr-defined]

    class Watched(Net):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            told.append("forward")
            return super().forward(x_BCHW)

    def read(step: Step) -> Numbers:
        told.append(f"read {step.batch.step}")
        found: Numbers = numbers(step)
        return found

    watched = cached_property(read)
    watched.__set_name__(Step, "numbers")
    monkeypatch.setattr(Step, "numbers", watched)
    torch.manual_seed(3)
    method = replace(METHOD, asynchronous=True, steps_per_epoch=3, clip=0.1, steps=5)
    course = Course(state_of(Watched(), Sgd()), method).run()
    epoch = ["forward", "forward", "read 0", "forward", "read 1", "read 2"]
    assert told == [*epoch, "forward", "forward", "read 3", "read 4"]
    expected = Course(state_of(new_net(), Sgd()), replace(method, asynchronous=False)).run()
    assert [step.loss for step in course.steps] == [step.loss for step in expected.steps]
    assert_same(course.state.net, expected.state.net)


def test_a_step_reads_no_tensor_back_while_the_device_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(tensor: Tensor) -> float:
        raise AssertionError("the CPU would wait for the device here")

    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "numpy", "cpu"):
        monkeypatch.setattr(Tensor, name, reads)
    state = state_of(new_net(), Sgd())
    compute_gradients(
        state,
        replace(METHOD, asynchronous=True),
        batch(0),
        forward=lambda x_BCHW: state.net(normalize(x_BCHW, PREPROCESS)),
        stop=False,
    )
    assert all(parameter.grad is not None for parameter in state.net.parameters())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_bad_step_is_named_also_when_it_is_noticed_late(asynchronous: bool) -> None:
    course = Course(state_of(new_net(), Sgd()), replace(METHOD, asynchronous=asynchronous))

    def spoiled() -> Iterable[Batch]:
        yield batch(0)
        with torch.no_grad():
            course.state.net.head.bias[0] = float("nan")  # type: ignore[union-attr, operator]
        yield from (batch(1, 2), batch(2))

    with pytest.raises(NotFinite, match=r"at step 2\. Images of that batch: ants/1-0\.png, ants/1-1\.png\.\n"):
        course.run(spoiled())


def test_weights_that_broke_in_the_last_step_of_an_epoch_are_no_checkpoint() -> None:
    course = Course(state_of(new_net(), Sgd()), replace(METHOD, steps_per_epoch=1))
    course._evaluate = lambda: Evaluation(0.5, accuracy=0.5, loss=float("nan"))  # type: ignore[method-assign]
    with pytest.raises(NotFinite, match="The loss of the validation images is nan after step 1"):
        course.run()
    assert not course.records
