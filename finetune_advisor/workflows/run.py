"""A recipe executed, or its learning rates and augmentations looked at first."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from finetune_advisor import processes
from finetune_advisor.errors import DataError, Problem, RecipeError, UnreadableImage
from finetune_advisor.features.extract import preprocess_of
from finetune_advisor.images.color_statistics import pixel_colors
from finetune_advisor.images.decode import read_image
from finetune_advisor.images.sources import Listing, Sample, open_recipe_source
from finetune_advisor.loading.fit import fit_image, resized_side
from finetune_advisor.loading.order import image_rng
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import RangeTest
from finetune_advisor.records.profile import PROFILE_NAME, Profile
from finetune_advisor.records.rundir import RunDir, RunPlace
from finetune_advisor.reporting.gallery import Row, draw_contact_sheet
from finetune_advisor.reporting.range_test import draw_range_test
from finetune_advisor.storage.files import require_writable
from finetune_advisor.techniques.ensembling import Ensembling
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.training.interrupt import resumable
from finetune_advisor.training.lr_finder import find_lr
from finetune_advisor.training.prepare import Augment
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows.ensemble import ensemble
from finetune_advisor.workflows.report import diagnose_run, write_run_page

log = logging.getLogger(__name__)


def run_and_draw(
    recipe: Recipe,
    run: RunPlace,
    *,
    profile: Profile | None = None,
    resume: bool = False,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> RunDir:
    """Execute a recipe, or go on with it, read its curves, draw them, and report.

    A finished run is not trained again when it is resumed; what is missing of its figures is drawn.

    Raises:
        FinetuneAdvisorError: see `train`.
    """
    if resume and isinstance(run, RunDir) and run.finished:
        folder = run
    else:
        folder = train(recipe, run, profile=profile, resume=resume, device=device, watcher=watcher)
    if processes.is_main() and not folder.drawn:
        with resumable(folder):
            diagnose_run(folder, device=device)
            write_run_page(folder, device=device)
    return folder


def ensemble_and_draw(
    runs: Sequence[RunDir],
    technique: Ensembling,
    out: RunDir | None = None,
    *,
    device: str = "cpu",
    watcher: Watcher | None = None,
    on_ray: bool = False,
) -> RunDir:
    """Make an ensemble, or go on with it, and write the page about it, if it is not there.

    Raises:
        FinetuneAdvisorError: see `ensemble`.
    """
    folder = ensemble(runs, technique, out, device=device, watcher=watcher, on_ray=on_ray)
    if not folder.report.is_file():
        write_run_page(folder, device=device)
    return folder


def profile_of(path: Path, recipe: Recipe) -> Profile:
    """The analysis that a person says a recipe came from.

    Raises:
        DataError: the file cannot be read, or is of other images than the recipe's.
    """
    profile = Profile.load(path)
    if not _of_same_data(profile, recipe):
        raise DataError(
            f"{path} is the analysis of {profile.data}; the recipe's images are in {recipe.data.path}.",
            "Name the profile of these images, or leave out --profile.",
        )
    return profile


def profile_beside(recipe_file: Path, recipe: Recipe) -> Profile | None:
    """The analysis that a recipe file came from: `analysis/profile.json` beside it, if it is of the same data."""
    path = recipe_file.parent / "analysis" / PROFILE_NAME
    if not path.is_file():
        return None
    try:
        profile = Profile.load(path)
    except DataError as problem:
        log.warning("the run gets no copy of the analysis: %s", problem.message)
        return None
    return profile if _of_same_data(profile, recipe) else None


def _of_same_data(profile: Profile, recipe: Recipe) -> bool:
    return Path(profile.data).resolve() == Path(recipe.data.path).resolve()


def find_lr_and_draw(
    recipe: Recipe, picture: Path, *, device: str = "cpu", watcher: Watcher | None = None
) -> RangeTest:
    """Sweep the learning rate and draw what it did to the loss; a picture that is there is replaced.

    Raises:
        FinetuneAdvisorError: see `find_lr`; or the picture cannot be written.
    """
    require_writable(picture)
    test = find_lr(recipe, device=device, watcher=watcher)
    draw_range_test(test, picture)
    return test


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
