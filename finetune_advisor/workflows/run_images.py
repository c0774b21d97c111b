"""The images of a run, found again where its recipe says that they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from finetune_advisor.artifacts.recipe_file import load_recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.data.sources import open_recipe_source
from finetune_advisor.data.split_file import load_splits
from finetune_advisor.errors import DataError, RecipeError, StorageError

log = logging.getLogger(__name__)


def run_images(run: RunDir, split: str) -> Mapping[str, Path]:
    """The file of each image of a split, by its name; none, which is logged, where they are not there any more."""
    try:
        data = load_recipe(run.recipe).data
        names = [name for name, (_, part) in load_splits(run.splits).items() if part == split]
        paths = {sample.name: sample.path for sample in open_recipe_source(data, warn=False).samples}
    except (DataError, RecipeError, StorageError) as problem:
        log.info("the images of %s are not to be had: %s", run.path, problem.message)
        return {}
    return {name: paths[name] for name in names if name in paths}


def some_images(run: RunDir, split: str, most: int) -> list[Path]:
    """At most so many of them, from all over the split, which may be sorted by class."""
    paths = list(run_images(run, split).values())
    return paths[:: max(1, len(paths) // most)][:most]
