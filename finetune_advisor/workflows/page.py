"""The page about an analysis: what was measured and what the advice says of it, brought together."""

from __future__ import annotations

from pathlib import Path

from finetune_advisor.advice.advise import Advice
from finetune_advisor.advice.sentences import why
from finetune_advisor.advice.table import CELLS, MEANING
from finetune_advisor.artifacts.facts import legible
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.data.sources import Listing
from finetune_advisor.reporting.analysis_page import Advised, write_page
from finetune_advisor.reporting.chosen import chosen_stages
from finetune_advisor.reporting.gallery import class_strips
from finetune_advisor.version import __version__


def write_report(
    path: Path,
    profile: Profile,
    advice: Advice,
    listing: Listing,
    *,
    recipe: Path,
    clean: Path | None = None,
    seconds: float | None = None,
) -> None:
    """Write `report.html`, whole or not at all.

    Args:
        path: the file to write.
        profile: placed in the table.
        advice: what was made of it.
        listing: where the images lie.
        recipe: the file that the recipe is written to.
        clean: the manifest without unreadable files and extra copies, where one is written.
        seconds: how long the recipe should run here; None where nobody measured it.

    Raises:
        StorageError: the file cannot be written.
    """
    advised = Advised(
        strategy=advice.cell,
        chosen_stages=chosen_stages(advice.recipe),
        expected=advice.expected,
        why=why(profile, advice.cell),
        cells=CELLS,
        meanings=MEANING,
        recipe_yaml=advice.yaml(recipe.parent),
        seconds=seconds,
    )
    write_page(
        path,
        profile,
        advised=advised,
        recipe=recipe,
        images={legible(sample.name): sample.path for sample in listing.samples},
        version=__version__,
        clean=clean,
        strips=class_strips(listing, bad_files=[bad.path for bad in profile.health.bad_files]),
    )
