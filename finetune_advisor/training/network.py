"""Strategies that train layers: everything the loop needs, put together from recipe and images.

Shapes: B images of a batch, N images, K classes.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from finetune_advisor import processes
from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.frozen import precision_on
from finetune_advisor.backbones.wrappers.whitened import Whitened, Whitening
from finetune_advisor.errors import StorageError
from finetune_advisor.loading.order import BatchPlan
from finetune_advisor.metrics import balanced_accuracy, confusion_matrix, log_loss, softmax
from finetune_advisor.processes import workers_of
from finetune_advisor.recipes.recipe import Budget, Recipe
from finetune_advisor.records.history import LayerSignal, Record
from finetune_advisor.techniques.schedule import Cyclic
from finetune_advisor.techniques.strategy import FineTuning
from finetune_advisor.training.averaging import fit_batch_norm
from finetune_advisor.training.data_feed import Feed, PairMixing, Pixels, decoded_once, in_words
from finetune_advisor.training.frozen_cache import FromBoundary, FrozenPart, NoBoundary, key_of, plan_boundary
from finetune_advisor.training.loop import Evaluation, Method, fit
from finetune_advisor.training.param_groups import Group, regularizer_of, set_training_mode, trainable_groups
from finetune_advisor.training.prepare import Prepared, augment_of, fitted_whitening
from finetune_advisor.training.probe import balanced
from finetune_advisor.training.start import fill_body, fill_head, settle_start
from finetune_advisor.training.state import TrainState
from finetune_advisor.training.watch import Progress, Watcher

log = logging.getLogger(__name__)

KEPT = ("train", "val")
"""Splits that are looked at in every epoch; test images are looked at once."""


@dataclass(frozen=True)
class ChosenFeed:
    """A feed, and what a person is told about what it keeps."""

    feed: Feed
    cached: str


def choose_feed(
    pixels: Pixels, prepared: Prepared, method: Method, *, folder: Path | None, watcher: Watcher
) -> ChosenFeed:
    """Decide, and compute the frozen part's output where it is kept; every fallback is logged with its reason.

    Args:
        pixels: the feed that always works.
        folder: for what is kept; None computes nothing ahead, which is enough for a plan.

    Raises:
        DataError: an image cannot be read any more.
    """
    strategy = prepared.recipe.strategy
    assert isinstance(strategy, FineTuning)
    feed = _feed_or_reason(pixels, prepared, method, folder or Path.cwd())
    if isinstance(feed, FromBoundary) and folder is not None:
        feed = feed.accelerated()
    if isinstance(feed, FromBoundary) and folder is not None and processes.is_main():
        try:
            feed = feed.kept_in(folder, key=_key(prepared), progress=watcher.on_cached)
        except StorageError as problem:
            feed = problem.message
    # One disk decides for all processes, and the others find there what the main one has written.
    reason = processes.from_main(None if isinstance(feed, FromBoundary) else feed)
    if reason is not None or isinstance(feed, str):
        reason = str(reason or feed)
        if strategy.cached_views is not None:
            log.warning("the frozen part is not cached, every epoch runs the whole network: %s", reason)
        pixels, kept = _whole_network(pixels, prepared, method, folder=folder, watcher=watcher)
        return ChosenFeed(pixels, f"nothing ({reason}): {kept}; every epoch runs the whole network")
    if folder is not None and not processes.is_main():
        feed = feed.kept_in(folder, key=_key(prepared), progress=watcher.on_cached)
    if folder is not None:
        log.info("cached: %s", feed.boundary)
    return ChosenFeed(feed, str(feed.boundary))


def _feed_or_reason(pixels: Pixels, prepared: Prepared, method: Method, folder: Path) -> FromBoundary | str:
    """The cut network, with nothing kept yet, or why it is not cut."""
    recipe, strategy = prepared.recipe, prepared.recipe.strategy
    assert isinstance(strategy, FineTuning)
    try:
        boundary = plan_boundary(
            prepared.backbone,
            strategy,
            images={split: images for split in KEPT if (images := len(pixels.samples[split]))},
            # A budget in minutes has no steps yet: they are timed on the feed that is chosen here.
            epochs=math.ceil(method.steps / method.steps_per_epoch) or sys.maxsize,
            augmented=pixels.augment is not None,
            most_mib=recipe.runtime.cache_mib or 0,
            folder=folder,
        )
    except NoBoundary as reason:
        return str(reason)
    frozen = FrozenPart(prepared.backbone, boundary.stage, pixels.preprocess, method.precision)
    return FromBoundary(boundary, frozen, pixels, {})


def _whole_network(
    pixels: Pixels, prepared: Prepared, method: Method, *, folder: Path | None, watcher: Watcher
) -> tuple[Pixels, str]:
    """The plain feed, its images decoded once where there is room and more than one epoch, and that in words."""
    most_mib = prepared.recipe.runtime.cache_mib
    if most_mib is None or method.steps_per_epoch >= method.steps > 0:
        return pixels, in_words(pixels)
    if folder is None:
        return pixels, f"images are decoded once, as far as {most_mib:,} MiB go"
    pixels = decoded_once(pixels, folder, key=_key(prepared), most_mib=most_mib, progress=watcher.on_cached)
    log.info("decoded once: %s", in_words(pixels))
    return pixels, in_words(pixels)


def _key(prepared: Prepared) -> str:
    data = prepared.data
    return key_of({split: [data.digests[place] for place in data.index(split)] for split in KEPT})


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of `runtime.precision`; `auto` is one of them, as the device has it."""


@dataclass(frozen=True)
class Setup:
    """A network about to be trained: what `--dry-run` shows and what the loop runs on."""

    recipe: Recipe
    strategy: FineTuning
    backbone: Backbone
    groups: tuple[Group, ...]
    method: Method
    plan: BatchPlan
    feed: Feed
    cached: str
    """What the feed keeps between epochs, for a person."""
    val_labels_N: npt.NDArray[np.intp]
    images: Mapping[str, int]
    """How many each split has."""
    whitening: Whitening | None
    """What goes in front of the network, and belongs to the model."""
    signal: tuple[LayerSignal, ...]
    """How the outputs of each layer vary before training; empty where the weights are pretrained."""

    @property
    def budget(self) -> Budget:
        assert self.recipe.budget is not None, "checked by Recipe"
        return self.recipe.budget

    def start(self) -> TrainState:
        """The state before the first step."""
        assert self.recipe.optimizer is not None
        groups = [group.for_optimizer() for group in self.groups]
        return TrainState(self.backbone.net, self.recipe.optimizer.build(groups))

    def records(
        self, state: TrainState, on_step: Callable[[Progress], None], stop: Callable[[], bool]
    ) -> Iterator[Record]:
        """Train from where the state is to the end of the budget; one Record per epoch."""
        return fit(
            state,
            self.feed.batches(state.step, self.method.steps),
            self.method,
            forward=self.feed.forward,
            set_mode=lambda: self.set_mode(epoch=state.step // self.method.steps_per_epoch),
            evaluate=lambda: self.judge(state),
            on_step=on_step,
            stop=stop,
        )

    def is_snapshot(self, step: int) -> bool:
        """Whether the evaluation after this step leaves a checkpoint behind for an ensemble."""
        if self.recipe.ensemble is None:
            return False
        evaluations = math.ceil(self.method.steps / self.method.steps_per_epoch)
        cycles = self.recipe.schedule.cycles if isinstance(self.recipe.schedule, Cyclic) else None
        return math.ceil(step / self.method.steps_per_epoch) in self.recipe.ensemble.snapshots(evaluations, cycles)

    def set_mode(self, *, epoch: int) -> None:
        """Make ready for training when `epoch` epochs are done: see `set_training_mode`."""
        set_training_mode(self.backbone, self.strategy, epoch=epoch)

    def judge(self, state: TrainState) -> Evaluation | None:
        """Score the average of the weights where there is one, and otherwise the network as it is.

        Where all images train there is nothing to score, and only the average is made ready.
        """
        averaging = self.method.averaging
        if averaging is None or not state.average.count:
            return self.evaluate()
        with state.average.inside(state.moving):
            if averaging.fits_batch_norm:
                fit_batch_norm(
                    self.backbone.net,
                    lambda: self.feed.batches(max(0, state.step - self.method.steps_per_epoch), state.step),
                    forward=self.feed.forward,
                    set_mode=lambda: self.set_mode(epoch=(state.step - 1) // self.method.steps_per_epoch),
                    device=self.method.device,
                )
            return self.evaluate()

    def evaluate(self) -> Evaluation | None:
        """Score the validation images, where there are any, which leaves the network in evaluation mode."""
        if not self.images["val"]:
            return None
        labels_N, probabilities_NK = self.val_labels_N, self.probabilities("val")
        predictions_N = probabilities_NK.argmax(axis=1)
        accuracy = float((predictions_N == labels_N).mean())
        loss = log_loss(probabilities_NK, labels_N)
        confusion_KK = confusion_matrix(labels_N, predictions_N, probabilities_NK.shape[1])
        metrics = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy(confusion_KK), "loss": -loss}
        return Evaluation(metrics[self.recipe.evaluation.metric], accuracy, loss)

    def probabilities(self, split: str) -> npt.NDArray[np.float64]:
        """Probabilities (N, K) of the images of a split; each process looks at its share, and all know the whole.

        Raises:
            DataError: see `Feed.evaluation`.
        """
        self.backbone.net.eval()
        parts = []
        for inputs in self.feed.evaluation(split, _own_rows(self.images[split])):
            with torch.inference_mode(), self.method.autocast():
                logits_BK = self.feed.forward(inputs.to(self.method.device))
            parts.append(softmax(logits_BK.float().cpu().numpy()))
        return np.concatenate([part_BK for parts in processes.gather(parts) for part_BK in parts])


def set_up(prepared: Prepared, *, device: str, caches: Path | None = None, watcher: Watcher | None = None) -> Setup:
    """Fill the new classifier, freeze what is not trained, move the network to the device, and plan the steps.

    Args:
        caches: folder for what is computed once; None computes nothing ahead, for plans.
        watcher: told about what is computed ahead.

    Raises:
        DataError: an image cannot be read any more.
    """
    recipe, data, backbone = prepared.recipe, prepared.data, prepared.backbone
    fill_body(prepared)
    fill_head(prepared, device=device)
    strategy = recipe.strategy
    assert isinstance(strategy, FineTuning)
    assert recipe.optimizer and recipe.schedule and recipe.budget and recipe.loss, "checked by Recipe"
    groups = trainable_groups(backbone, strategy, recipe.optimizer)
    backbone.net.to(torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    processes.copy_from_main(backbone.net.state_dict().values())
    train_N = data.index("train")
    plan = BatchPlan(
        len(train_N), recipe.optimizer.batch, recipe.seed, rank=processes.rank(), processes=processes.world_size()
    )
    class_weight_K = None
    if recipe.data.class_weights == "balanced":
        weights = balanced(data.labels(train_N), len(data.classes))
        class_weight_K = torch.tensor(weights, dtype=torch.float32, device=device)
    method = Method(
        loss=recipe.loss,
        schedule=recipe.schedule,
        averaging=recipe.averaging,
        regularizer=regularizer_of(recipe, groups),
        clip=recipe.optimizer.clip,
        class_weight_K=class_weight_K,
        seed=recipe.seed,
        steps=steps_of(recipe.budget, plan),
        steps_per_epoch=plan.steps_per_epoch,
        micro_batch=recipe.optimizer.micro_batch or recipe.optimizer.batch + 1,  # one may join the last batch
        precision=_precision(recipe, device),
        device=torch.device(device),
        mixing=None if recipe.mixing is None else PairMixing(recipe.mixing, len(data.classes), recipe.seed),
        asynchronous=torch.device(device).type != "cpu",
    )
    whitening = fitted_whitening(prepared, device=device, folder=caches)
    samples = {split: data.samples(data.index(split)) for split in ("train", "val", "test")}
    pixels = Pixels(
        net=backbone.net if whitening is None else Whitened(whitening, backbone.net),
        preprocess=prepared.preprocess,
        augment=augment_of(prepared),
        plan=plan,
        samples=samples,
        eval_batch=recipe.optimizer.batch,
        workers=workers_of(recipe.runtime.workers),
    )
    signal = settle_start(prepared, pixels, device=method.device)
    chosen = choose_feed(pixels, prepared, method, folder=caches, watcher=watcher or Watcher())
    return Setup(
        recipe,
        strategy,
        backbone,
        groups,
        method,
        plan,
        feed=chosen.feed,
        cached=chosen.cached,
        val_labels_N=data.labels(data.index("val")),
        images={split: len(members) for split, members in samples.items()},
        whitening=whitening,
        signal=signal,
    )


def _precision(recipe: Recipe, device: str) -> torch.dtype:
    asked = recipe.runtime.precision
    return PRECISIONS[precision_on(device) if asked == "auto" else asked]


def _own_rows(images: int) -> slice:
    """This process's share of so many images, one after the other; maybe none."""
    rank, sharing = processes.rank(), processes.world_size()
    return slice(images * rank // sharing, images * (rank + 1) // sharing)


def steps_of(budget: Budget, plan: BatchPlan) -> int:
    """The one place where epochs and images become steps; 0 stands for minutes until `timetable` has settled them."""
    if budget.minutes is not None:
        return 0
    if budget.steps is not None:
        return budget.steps
    if budget.epochs is not None:
        return budget.epochs * plan.steps_per_epoch
    assert budget.images is not None, "checked by Budget"
    return max(1, round(budget.images / plan.images * plan.steps_per_epoch))
