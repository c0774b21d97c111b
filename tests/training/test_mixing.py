"""Mixed steps: label mass, the loss of both labels, and the same step however it is divided.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune_advisor.loading.batches import Batch, BatchPlan, normalize
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.loss import CrossEntropy
from finetune_advisor.techniques.mixing import CutMix, Mixing, MixUp
from finetune_advisor.techniques.optimizer import Sgd
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.techniques.schedule import Constant
from finetune_advisor.training.data_feed import PairMixing, partners, recognized
from finetune_advisor.training.loop import Method, Numbers, compute_gradients
from finetune_advisor.training.param_groups import Regularizer
from finetune_advisor.training.state import TrainState
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

CLASSES = 3
PREPROCESS = Preprocess(8, "stretch", 1.0, "nearest", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
WEIGHT_K = torch.tensor([0.2, 1.0, 3.0])
EACH = pytest.mark.parametrize("technique", [MixUp(alpha=1.0), CutMix()], ids=lambda technique: technique.kind)


def batch(step: int, images: int = 7) -> Batch:
    generator = torch.Generator().manual_seed(step)
    x_BCHW = torch.randint(0, 256, (images, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels_B = torch.randint(0, CLASSES, (images,), generator=generator)
    return Batch(step, 0, x_BCHW, labels_B, tuple(map(str, range(images))), images)


def share_of(made: Batch, plan: BatchPlan) -> Batch:
    """A process's images of a batch, which are cut as the plan cuts them."""
    whole = BatchPlan(plan.images, plan.batch, plan.seed).indices(0).tolist()
    rows = [whole.index(index) for index in plan.indices(0)]
    return replace(
        made, inputs=made.inputs[rows], labels_B=made.labels_B[rows], names=tuple(made.names[r] for r in rows)
    )


def gradients(
    made: Batch, technique: Mixing, *, smoothing: float = 0.1, micro_batch: int = 99
) -> tuple[Tensor, Numbers]:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES))
    method = Method(
        loss=CrossEntropy(label_smoothing=smoothing),
        schedule=Constant(),
        averaging=None,
        regularizer=Regularizer(),
        clip=None,
        class_weight_K=WEIGHT_K,
        seed=0,
        steps=1,
        steps_per_epoch=1,
        micro_batch=micro_batch,
        precision=torch.float32,
        device=torch.device("cpu"),
        mixing=PairMixing(technique, CLASSES, seed=5),
    )
    state = TrainState(net, Sgd().build([{"params": list(net.parameters()), "lr": 0.1}]))
    step = compute_gradients(state, method, made, forward=lambda x_BCHW: net(normalize(x_BCHW, PREPROCESS)), stop=False)
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]), step.numbers


@EACH
def test_label_mass_is_one_and_lies_on_the_two_classes(technique: Mixing) -> None:
    shares = set()
    for step in range(20):
        made = batch(step)
        mixed_BK = PairMixing(technique, CLASSES, seed=0)(made).target
        torch.testing.assert_close(mixed_BK.sum(dim=1), torch.ones(7))
        for image, partner in ((0, 1), (1, 0), (4, 5), (6, 5)):
            classes = {int(made.labels_B[image]), int(made.labels_B[partner])}
            assert set(mixed_BK[image].nonzero().flatten().tolist()) <= classes
            if len(classes) == 2:
                shares.add(round(float(mixed_BK[image, made.labels_B[image]]), 3))
    assert len(shares) > 10, "drawn anew in every step"


def test_the_last_of_an_odd_number_takes_the_one_before_it_and_a_single_one_stays_alone() -> None:
    assert partners(6).tolist() == [1, 0, 3, 2, 5, 4]
    assert partners(5).tolist() == [1, 0, 3, 2, 3]
    assert partners(1).tolist() == [0]


def test_pixels_are_mixed_in_the_proportion_of_the_labels() -> None:
    made = replace(batch(0, 2), labels_B=torch.tensor([0, 2]))
    mixed = PairMixing(MixUp(alpha=1.0), CLASSES, seed=0)(made)
    own = float(mixed.target[0, 0])
    expected_CHW = own * made.inputs[0].float() + (1 - own) * made.inputs[1].float()
    torch.testing.assert_close(mixed.inputs[0], expected_CHW, rtol=1e-5, atol=1e-3)
    assert 0.01 < own < 0.99
    assert mixed.labels_B is made.labels_B, "and the labels remain known"


@EACH
def test_the_loss_is_that_of_both_labels_in_their_proportion(technique: Mixing) -> None:
    """The papers' own form, share * loss(label) + (1 - share) * loss(partner's), with smoothing and class weights."""
    made = batch(0, 6)
    mixed = PairMixing(technique, CLASSES, seed=5)(made)
    _, numbers = gradients(made, technique)
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES))
    logits_BK = net(normalize(mixed.inputs, PREPROCESS)).detach()
    partner_B = made.labels_B[[1, 0, 3, 2, 5, 4]]
    different = (made.labels_B != partner_B).nonzero()[0, 0]
    share = float(mixed.target[different, made.labels_B[different]])

    def loss_of(labels_B: Tensor) -> Tensor:
        return functional.cross_entropy(logits_BK, labels_B, weight=WEIGHT_K, reduction="none", label_smoothing=0.1)

    expected = share * loss_of(made.labels_B).sum() + (1 - share) * loss_of(partner_B).sum()
    assert numbers.loss_sum == pytest.approx(expected.item(), rel=1e-5)


@EACH
@pytest.mark.parametrize("images", [7, 8])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(technique: Mixing, images: int, micro_batch: int) -> None:
    whole, told = gradients(batch(0, images), technique)
    parts, told_by_parts = gradients(batch(0, images), technique, micro_batch=micro_batch)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert told_by_parts.loss_sum == pytest.approx(told.loss_sum, rel=1e-5)
    assert told_by_parts.correct == pytest.approx(told.correct, rel=1e-5)


@EACH
@pytest.mark.parametrize("processes", [2, 3])
def test_the_shares_of_processes_add_up_to_the_gradient_of_the_whole(technique: Mixing, processes: int) -> None:
    made = batch(0, 11)
    whole, told = gradients(made, technique)
    plans = [BatchPlan(11, 11, 0, rank=rank, processes=processes) for rank in range(processes)]
    shares = [gradients(share_of(made, plan), technique) for plan in plans]
    torch.testing.assert_close(sum(gradient for gradient, _ in shares), whole, rtol=1e-4, atol=1e-6)
    assert sum(numbers.correct for _, numbers in shares) == pytest.approx(told.correct, rel=1e-5)


def test_a_mixed_image_is_recognized_by_the_share_of_the_class_that_the_network_says() -> None:
    made = replace(batch(0, 3), mixed_BK=torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]]))
    logits_BK = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    assert float(recognized(logits_BK, made)) == pytest.approx(0.7 + 0.4 + 0.0)


def test_a_run_with_mixing_ends_with_a_network_that_is_scored_on_whole_images(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder({"train/ants": 7, "train/bees": 6, "test/ants": 2, "test/bees": 2})
    edits = ("strategy.cached_views=null", "budget={epochs: 2}", "optimizer.batch=5", "mixing={kind: cutmix}")
    run = train(recipe("few_layers", data, *edits), RunDir(tmp_path / "run"))
    first, second = run.load_history()
    assert first.train_accuracy is not None and 0 < first.train_accuracy < 1
    assert second.val_loss is not None
    assert run.finished
