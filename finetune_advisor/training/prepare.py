"""What every run starts from: images, augmentation, whitening and network; cheap mistakes are found first.

Shapes: B images, C channels, H and W pixels, D = C * H * W numbers of an image.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from finetune_advisor import processes
from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.backbones.frozen import feature_stages
from finetune_advisor.backbones.variant import Variant
from finetune_advisor.backbones.weights import WORDS
from finetune_advisor.backbones.wrappers.whitened import Whitening
from finetune_advisor.dataset import Dataset, open_dataset
from finetune_advisor.errors import DataError, Problem, RecipeError
from finetune_advisor.features.extract import instrument_of, preprocess_of
from finetune_advisor.images.color_statistics import pixel_colors, value_scale
from finetune_advisor.images.sample import evenly_spaced
from finetune_advisor.images.sources import Listing, open_recipe_source
from finetune_advisor.images.split import SavedSplits, apply_splits
from finetune_advisor.loading.batches import eval_batches, normalize
from finetune_advisor.processes import workers_of
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.storage.files import atomic_write
from finetune_advisor.techniques.augmentation import Augmentation, Context, apply_all
from finetune_advisor.techniques.base import Colors
from finetune_advisor.techniques.preprocessing import PcaWhitening, Preprocess
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.training.param_groups import check_named_layers
from finetune_advisor.training.probe import probe_stages
from finetune_advisor.training.watch import Watcher

log = logging.getLogger(__name__)

_MOST_CHECKED = 1000
"""Training images whose first bytes are read where the recipe has no scale of values."""


@dataclass(frozen=True)
class Prepared:
    """A recipe with its images and its network, whose classifier is new and not yet filled."""

    recipe: Recipe
    """Its paths are absolute, so that it runs again from anywhere."""
    backbone: Backbone
    data: Dataset

    @cached_property
    def colors(self) -> Colors:
        """Of the training images, which are looked at when this is first asked for.

        Raises:
            DataError: one of them cannot be read any more.
        """
        return pixel_colors(
            [sample.path for sample in self.data.samples(self.data.index("train"))],
            value_range=self.recipe.preprocessing.value_range,
        )

    @cached_property
    def preprocess(self) -> Preprocess:
        """What is done to every image.

        Raises:
            DataError: it depends on the training images, and one of them cannot be read any more.
        """
        recipe = self.recipe
        return preprocess_of(recipe.backbone.name, recipe.backbone.weights, recipe.preprocessing, lambda: self.colors)

    def with_validation_images(self) -> Prepared:
        """The same from the start, a new network included, with nothing held out for validation.

        Raises:
            BackboneError: the weights cannot be had any more.
        """
        listing = self.data.listing
        samples = tuple(replace(one, split="train") if one.split == "val" else one for one in listing.samples)
        network = network_of(self.recipe, len(listing.classes))
        return Prepared(self.recipe, network, replace(self.data, listing=replace(listing, samples=samples)))

    def split_as(self, saved: SavedSplits) -> Prepared:
        """The same with the split of an earlier part of the run.

        Raises:
            DataError: the images are not those of that split.
        """
        return replace(self, data=replace(self.data, listing=apply_splits(self.data.listing, saved)))


def prepare(recipe: Recipe, *, device: str, watcher: Watcher) -> Prepared:
    """Find the images, build the network, then look at every image; writes nothing but the cache.

    For probes, and for a head that starts from one, every image goes through the frozen network; otherwise it is only
    decoded once.

    Raises:
        BackboneError: an unknown network, stage or input size, or weights that cannot be had; told before any
            image is read.
        RecipeError: training ends before everything that is to train does, or the optimizer cannot be built here; told
            before any image is read.
        DataError: the images cannot be used.
    """
    listing = open_recipe_source(recipe.data)
    backbone = network_of(recipe, len(listing.classes))
    _check_stages(recipe, backbone)
    if recipe.optimizer is not None:
        recipe.optimizer.check()
    _warn_of_normalization(recipe, backbone)
    if recipe.preprocessing.value_range is None:
        _warn_of_wide_values(listing)
    data = open_dataset(
        listing,
        (instrument_of(recipe),) if recipe.needs_features else (),
        validation=recipe.data.validation,
        seed=recipe.seed,
        device=device,
        workers=workers_of(recipe.runtime.workers),
        value_range=recipe.preprocessing.value_range,
        progress=watcher.on_images,
    )
    return Prepared(_with_absolute_paths(recipe, listing.source), backbone, data)


def network_of(recipe: Recipe, classes: int) -> Backbone:
    """The network that a recipe describes, for so many classes, not yet trained.

    Raises:
        BackboneError: the network is unknown or does not take the size, or its weights cannot be had.
    """
    arguments: dict[str, Any] = {}
    for technique in recipe.regularization or ():
        arguments |= technique.model_arguments()
    name, weights, size = recipe.backbone.name, recipe.backbone.weights, recipe.preprocessing.size
    variant = Variant(recipe.backbone.activation)
    if recipe.head is not None:
        variant = replace(variant, hidden=recipe.head.hidden, hidden_activation=recipe.head.activation)
    return build(name, weights, classes=classes, seed=recipe.seed, size=size, variant=variant, **arguments)


def _check_stages(recipe: Recipe, backbone: Backbone) -> None:
    strategy = recipe.strategy
    if isinstance(strategy, LinearProbe | StageProbe):
        probe_stages(strategy, [stage.name for stage in feature_stages(backbone.stages)])
        return
    check_named_layers(recipe, backbone, strategy)
    epochs = strategy.unfreezing([stage.name for stage in backbone.stages])
    assert recipe.budget is not None, "checked by Recipe"
    last = max(epochs, key=epochs.__getitem__)
    if recipe.budget.epochs is not None and epochs[last] >= recipe.budget.epochs:
        message = (
            f"{strategy.kind} unfreezes {last} after epoch {epochs[last]}, but training ends after epoch "
            f"{recipe.budget.epochs}; set it to at least {epochs[last] + 1}, or unfreeze faster or fewer stages"
        )
        raise RecipeError([Problem("budget.epochs", message)])


def _warn_of_normalization(recipe: Recipe, backbone: Backbone) -> None:
    """Zero-centering is necessary for a CNN that is to learn, and a pretrained one expects what it knows."""
    preprocessing, config = recipe.preprocessing, backbone.config
    pretraining = tuple(config["mean"]), tuple(config["std"])
    used = None if preprocessing.needs_colors else preprocessing.normalization(config, None)
    if backbone.weights.source != "random" and used != pretraining:
        log.warning(
            "preprocessing %s shows %s other numbers than its pretraining did; `preprocessing.kind=backbone` does not",
            preprocessing.kind,
            backbone.name,
        )
    elif backbone.weights.source == "random" and used is not None and not any(used[0]):
        log.warning(
            "preprocessing %s does not zero-center the images of %s, which makes training from random weights slow; "
            "`preprocessing.kind=data` does",
            preprocessing.kind,
            backbone.name,
        )


def _warn_of_wide_values(listing: Listing) -> None:
    """On the scale of their type 12 bits in a 16-bit file are nearly black, which nothing later would tell."""
    paths = [sample.path for sample in listing.samples if sample.split in (None, "train")]
    scale = value_scale([paths[place] for place in evenly_spaced(len(paths), _MOST_CHECKED)])
    if scale is not None and scale.range not in ((0, 65535), (0, 1)):
        low, high = scale.range
        log.warning(
            "images have over 8 bits per channel, with values from %g to %g, and preprocessing.value_range is null: "
            "they are shown on the scale of their type; measured: --set preprocessing.value_range=[%.10g,%.10g]",
            scale.lowest,
            scale.highest,
            low,
            high,
        )


def _with_absolute_paths(recipe: Recipe, source: str) -> Recipe:
    weights = recipe.backbone.weights
    if weights not in WORDS:
        weights = str(Path(weights).expanduser().resolve())
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"path": source}),
            "backbone": recipe.backbone.model_copy(update={"weights": weights}),
        }
    )


@dataclass(frozen=True)
class Augment:
    """The recipe's augmentations, one after the other; a value, so that worker processes can be sent it."""

    techniques: tuple[Augmentation, ...]
    colors: Colors | None

    @staticmethod
    def of(techniques: tuple[Augmentation, ...] | None, colors: Callable[[], Colors]) -> Augment | None:
        """With the colors of the training images, where a technique asks for them."""
        if not techniques:
            return None
        return Augment(techniques, colors() if any(technique.needs_colors for technique in techniques) else None)

    def __call__(self, image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
        return apply_all(self.techniques, image, rng, Context(size, self.colors))


def augment_of(prepared: Prepared) -> Augment | None:
    """What changes the training images of a run, where the recipe says; None: nothing does.

    Raises:
        DataError: it depends on the training images, and one of them cannot be read any more.
    """
    return Augment.of(prepared.recipe.augmentation, lambda: prepared.colors)


COVARIANCE_IMAGES = 50_000
"""That are looked at, as many as the slides took."""

BATCH = 64

FloatArray = npt.NDArray[np.float64]


def pixel_covariance(paths: Sequence[Path], preprocess: Preprocess, *, workers: int) -> tuple[FloatArray, FloatArray]:
    """Mean (D,) and covariance (D, D) of normalized images, or of evenly spaced ones of very many.

    Raises:
        DataError: one of them cannot be read any more, or a worker process died.
    """
    assert paths, "the pixels of nothing"
    some = [paths[index] for index in evenly_spaced(len(paths), COVARIANCE_IMAGES)]
    numbers = 3 * preprocess.size**2
    sum_D, square_DD = np.zeros(numbers), np.zeros((numbers, numbers))
    for _, x_BCHW, bad in eval_batches(some, preprocess, batch=BATCH, workers=workers):
        for place, reason in bad:
            raise DataError(f"{some[place]} cannot be read any more: {reason}.")
        x_BD = normalize(x_BCHW, preprocess).flatten(1).double().numpy()
        sum_D += x_BD.sum(axis=0)
        square_DD += x_BD.T @ x_BD
    mean_D = sum_D / len(some)
    return mean_D, square_DD / len(some) - np.outer(mean_D, mean_D)


def fitted_whitening(prepared: Prepared, *, device: str, folder: Path | None) -> Whitening | None:
    """What goes in front of the network; None where the recipe does not whiten. The same in all processes.

    Args:
        folder: of this run alone, where it is found if it has been computed before; None keeps nothing.

    Raises:
        DataError: an image cannot be read any more.
        StorageError: the disk is full or refuses.
    """
    technique = prepared.recipe.preprocessing
    if not isinstance(technique, PcaWhitening):
        return None
    whitening, path = Whitening(3 * technique.size**2), _path(prepared, folder)
    if processes.is_main() and not _found(whitening, path):
        _fit(whitening, technique, prepared)
        if path is not None:
            atomic_write(path, save(whitening.state_dict()))
    whitening.to(device)
    processes.copy_from_main(whitening.state_dict().values())
    return whitening.eval()


def _fit(whitening: Whitening, technique: PcaWhitening, prepared: Prepared) -> None:
    data, numbers, workers = prepared.data, len(whitening.mean_D), workers_of(prepared.recipe.runtime.workers)
    train_N = data.index("train")
    if len(train_N) <= numbers:
        log.warning(
            "whitening: %d training images cannot vary in all %d directions of their pixels; where they do not, noise "
            "is multiplied by %.0f. Raise preprocessing.epsilon, or choose another preprocessing.kind",
            len(train_N),
            numbers,
            technique.epsilon**-0.5,
        )
    paths = [sample.path for sample in data.samples(train_N)]
    mean_D, covariance_DD = pixel_covariance(paths, prepared.preprocess, workers=workers)
    whitening.mean_D.copy_(torch.from_numpy(mean_D))
    whitening.matrix_DD.copy_(torch.from_numpy(technique.matrix(covariance_DD)))
    log.info("whitened: %d numbers of an image, by %d training images", numbers, len(paths))


def _path(prepared: Prepared, folder: Path | None) -> Path | None:
    """Named for what it depends on."""
    if folder is None:
        return None
    data = prepared.data
    seen = [data.digests[place] for place in data.index("train")]
    text = repr((prepared.preprocess.key(), prepared.recipe.preprocessing, seen))
    return folder / f"whitening-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.safetensors"


def _found(whitening: Whitening, path: Path | None) -> bool:
    if path is None or not path.is_file():
        return False
    try:
        whitening.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as problem:
        log.warning("%s is damaged and computed again: %s", path, problem)
        return False
    return True
