"""What a network is before its first step: layers filled, the classifier fitted, statistics measured.

Shapes: B images, C channels, H and W pixels, K output units.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor.backbones.stages import classifier_modules, weighted_layers, within
from finetune_advisor.backbones.wrappers.stage_probe import POOLED
from finetune_advisor.dataset import Dataset
from finetune_advisor.errors import DataError
from finetune_advisor.probes import logistic
from finetune_advisor.records.history import LayerSignal, signal_sentence
from finetune_advisor.techniques.initialization import Fitted, Initialization, Probe, UnitVariance
from finetune_advisor.techniques.strategy import FineTuning
from finetune_advisor.training.averaging import fit_batch_norm
from finetune_advisor.training.data_feed import Pixels
from finetune_advisor.training.param_groups import statistics_kept
from finetune_advisor.training.prepare import Prepared
from finetune_advisor.training.probe import balanced

log = logging.getLogger(__name__)

STEPS_MEASURED = 32
"""Batches that say enough about the means and variances of activations."""

IMAGES_LOOKED_AT = 32
"""Images that the report of the signal is about."""

Layer = nn.Linear | nn.Conv2d


def fill_body(prepared: Prepared) -> None:
    """Fill every layer below the classifier as `backbone.initialization` says, the same bits every time."""
    recipe, net = prepared.recipe, prepared.backbone.net
    initialization = recipe.backbone.initialization
    if initialization is None:
        return
    generator = torch.Generator().manual_seed(recipe.seed)
    for layer in _layers(net, of_classifier=False):
        bias_K = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
        initialization.fill(layer.weight, bias_K, generator)


def settle_start(prepared: Prepared, pixels: Pixels, *, device: torch.device) -> tuple[LayerSignal, ...]:
    """Do what only the images can tell: scale layers to unit variance, measure the statistics of swapped networks.

    Returns:
        How the signal gets through a network of random weights; nothing where weights are pretrained.
    """
    recipe, net, strategy = prepared.recipe, prepared.backbone.net, prepared.recipe.strategy
    assert recipe.head is not None and isinstance(strategy, FineTuning), "checked by Recipe"
    fresh = recipe.backbone.weights == "random"
    follows = fresh and strategy.batch_norm == "train"
    starts: list[tuple[Initialization | None, list[Layer]]] = [
        (recipe.backbone.initialization, _layers(net, of_classifier=False)),
        (recipe.head.initialization, _layers(net, of_classifier=True)),
    ]
    for initialization, layers in starts:
        if isinstance(initialization, UnitVariance):
            x_BCHW = _some_images(pixels, initialization.images).to(device)
            with _ready(net, follows=follows):
                scale_to_unit_variance(layers, lambda: pixels.forward(x_BCHW))  # noqa: B023 - runs now
    if recipe.backbone.activation is not None:
        _recalibrate(net, pixels, device=device)
    if not fresh:
        return ()
    x_BCHW = _some_images(pixels, IMAGES_LOOKED_AT).to(device)
    with _ready(net, follows=follows):
        signal = measure_signal(net, lambda: pixels.forward(x_BCHW))
    log.info("signal before training: %s", signal_sentence(signal))
    return signal


@torch.no_grad()
def scale_to_unit_variance(layers: Sequence[Layer], forward: Callable[[], Tensor]) -> None:
    """Scale the weights of each layer so that its outputs have variance one, in the order in which they run.

    One pass does it, without the iterations of the paper: a layer without bias is linear in its weights, so the scaled
    output is known at once and goes on to the next layer. Layers of which all outputs are alike are left alone.
    """
    done: set[nn.Module] = set()

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:  # noqa: ARG001
        deviation = output.float().std()
        if module in done or not deviation > 0:
            return None
        done.add(module)
        assert isinstance(module, (nn.Linear, nn.Conv2d))
        module.weight.div_(deviation)
        return output / deviation

    with ExitStack() as stack:
        for layer in layers:
            assert layer.bias is None or not layer.bias.any(), "a bias would not scale with the weights"
            stack.callback(layer.register_forward_hook(hook).remove)
        forward()


@torch.no_grad()
def measure_signal(net: nn.Module, forward: Callable[[], Tensor]) -> tuple[LayerSignal, ...]:
    """The variance of the outputs of each convolution and linear layer, in the order in which they run."""
    found: dict[str, float] = {}

    def reader(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
            found.setdefault(path, output.float().var().item())

        return hook

    with ExitStack() as stack:
        for path, layer in weighted_layers(net).items():
            stack.callback(layer.register_forward_hook(reader(path)).remove)
        forward()
    return tuple(LayerSignal(path, variance) for path, variance in found.items())


def _recalibrate(net: nn.Module, pixels: Pixels, *, device: torch.device) -> None:
    """Measure the statistics of every BatchNorm layer, also of frozen ones; the network is left in evaluation mode."""
    steps = min(pixels.plan.steps_per_epoch, STEPS_MEASURED)
    fit_batch_norm(
        net, lambda: pixels.batches(0, steps), forward=pixels.forward, set_mode=lambda: _train(net), device=device
    )


def _train(net: nn.Module) -> None:
    net.train()


@contextmanager
def _ready(net: nn.Module, *, follows: bool) -> Iterator[None]:
    """Dropout is off; where statistics will follow the data and none have been learned, BatchNorm takes the batch's."""
    net.eval()
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm)] if follows else []
    for layer in layers:
        layer.train()
    with statistics_kept(net):
        yield
    net.eval()


def _some_images(pixels: Pixels, images: int) -> Tensor:
    """Training images from all over their list, which may be sorted by class; the same in every process."""
    step = max(1, len(pixels.samples["train"]) // images)
    with closing(pixels.evaluation("train", slice(0, step * images, step))) as stream:
        return torch.cat(list(stream))


def _layers(net: nn.Module, *, of_classifier: bool) -> list[Layer]:
    classifier = classifier_modules(net)
    return [layer for path, layer in weighted_layers(net).items() if within(path, classifier) == of_classifier]


def fill_head(prepared: Prepared, *, device: str) -> None:
    """Fill the network's new classifier as the recipe says, the same bits every time.

    A distilled network averages two classifiers, and both start alike where nothing is random. A hidden layer is filled
    like the classes above it.
    """
    recipe, net = prepared.recipe, prepared.backbone.net
    assert recipe.head is not None, "checked by Recipe"
    initialization = recipe.head.initialization
    fitted = None
    if isinstance(initialization, Probe):
        weighted = recipe.data.class_weights == "balanced"
        fitted = fit_head(initialization, prepared.data, class_weights=weighted, seed=recipe.seed, device=device)
    generator = torch.Generator().manual_seed(recipe.seed)
    for path in classifier_modules(net):
        for layer in weighted_layers(net.get_submodule(path)).values():
            assert layer.bias is not None, f"{path} has no bias"
            initialization.fill(layer.weight, layer.bias, generator, fitted=fitted)
    activation = recipe.head.activation
    if activation is not None and activation.warning is not None:
        log.warning("head.activation: %s", activation.warning)


def fit_head(probe: Probe, data: Dataset, *, class_weights: bool, seed: int, device: str) -> Fitted:
    """Fit the linear probe that a head starts from, on training images alone: validation has to stay unseen.

    The strength is chosen on folds that keep relatives together, as for the linear probe.

    Raises:
        DataError: all training images are relatives of each other.
    """
    train_N = data.index("train")
    if len(np.unique(data.family_N[train_N])) < 2:
        raise DataError(
            f"The {len(train_N)} training images in {data.listing.source} are relatives of each other, by their "
            "group or as copies, which leaves nothing to choose the strength of the head's probe on.",
            "Add images of a second group, or let the head start from zeros: head.initialization.kind: zeros.",
        )
    labels_N, classes = data.labels(train_N), len(data.classes)
    x_ND = data.features[0].rows(train_N).stage(POOLED)
    weight_N = balanced(labels_N, classes)[labels_N] if class_weights else None
    searched = logistic.cross_validate(
        x_ND,
        labels_N,
        data.folds(train_N, folds=probe.folds, seed=seed),
        strengths=probe.strengths,
        classes=classes,
        weight_N=weight_N,
        device=device,
    )
    best = searched.best()
    strength, accuracy = searched.strengths[best], searched.accuracies()[best]
    log.info("the head starts from a probe of strength %g: accuracy %.3f out of fold", strength, accuracy)
    found = logistic.fit(x_ND, labels_N, strength=strength, classes=classes, weight_N=weight_N, device=device)
    return Fitted(torch.tensor(found.weight_KD, dtype=torch.float32), torch.tensor(found.bias_K, dtype=torch.float32))
