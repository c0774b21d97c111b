"""What a recipe's augmentation does to a person's own images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.data.decode import read_image
from finetune_advisor.data.fit import fit_image, resized_side
from finetune_advisor.data.pixel_colors import pixel_colors
from finetune_advisor.data.plan import image_rng
from finetune_advisor.data.sources import Listing, Sample, open_recipe_source
from finetune_advisor.errors import DataError, Problem, RecipeError, UnreadableImage
from finetune_advisor.instruments import preprocess_of
from finetune_advisor.reporting.contact_sheet import Row, draw_contact_sheet
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.training.augment import Augment

IMAGES, EPOCHS = 6, 7


def preview(recipe: Recipe, path: Path, *, images: int = IMAGES, epochs: int = EPOCHS) -> tuple[str, ...]:
    """Write a contact sheet: some training images, and what training would see of each, epoch after epoch.

    Args:
        recipe: whose `data.path` says where the images are.
        path: the PNG to write.
        images: how many, of different classes as far as there are; a file that cannot be read is passed over.
        epochs: draws of each.

    Returns:
        The names of the images that were drawn.

    Raises:
        RecipeError: the recipe augments nothing.
        DataError: no image can be read.
    """
    listing = open_recipe_source(recipe.data)
    train = [sample for sample in listing.samples if sample.split in (None, "train")]
    colors = cache(
        partial(pixel_colors, [sample.path for sample in train], value_range=recipe.preprocessing.value_range)
    )
    augment = Augment.of(recipe.augmentation, colors)
    if augment is None:
        problem = Problem("augmentation", "it is null: training sees the images as they are")
        raise RecipeError([problem], "Name some techniques there; `finetune-advisor techniques` lists what there is.")
    preprocess = preprocess_of(recipe.backbone.name, recipe.backbone.weights, recipe.preprocessing, colors)
    rows: dict[str, Row] = {}
    for index in _in_turn(train, recipe.seed):
        if len(rows) == images:
            break
        try:
            rows[train[index].name] = _row(listing, train[index], index, augment, preprocess, recipe.seed, epochs)
        except UnreadableImage:
            continue
    if not rows:
        raise DataError(f"None of the {len(train)} training images in {listing.source} can be read.")
    kinds = ", ".join(technique.kind for technique in augment.techniques)
    draw_contact_sheet(list(rows.values()), path, title=f"{recipe.name}: {kinds}")
    return tuple(rows)


def _in_turn(samples: Sequence[Sample], seed: int) -> list[int]:
    """Places of the images, drawn by lot, the first of every class before the second of any."""
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    seen: Counter[int] = Counter()
    turns: list[tuple[int, int, int]] = []
    for index in order:
        label = samples[index].label
        turns.append((seen[label], label, index))
        seen[label] += 1
    return [index for _, _, index in sorted(turns)]


def _row(
    listing: Listing, sample: Sample, index: int, augment: Augment, preprocess: Preprocess, seed: int, epochs: int
) -> Row:
    image = read_image(sample.path, at_least=2 * resized_side(preprocess), value_range=preprocess.value_range)
    drawn = [
        fit_image(augment(image, image_rng(seed, epoch, index), preprocess.size), preprocess) for epoch in range(epochs)
    ]
    return Row(listing.classes[sample.label], fit_image(image, preprocess), drawn)
