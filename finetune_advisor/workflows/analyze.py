"""Images measured, placed in the table, given a recipe; and the files and the page that say so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune_advisor.advice.advise import Advice, advise, expected_seconds
from finetune_advisor.advice.sentences import why
from finetune_advisor.advice.table import CELLS, MEANING, place
from finetune_advisor.analysis.analyze import LIMIT, analyze
from finetune_advisor.backbones.bundled import RULER
from finetune_advisor.errors import RunError
from finetune_advisor.images.sources import Listing, open_source
from finetune_advisor.images.sources.listing import ClassFolders
from finetune_advisor.images.split import redrawn
from finetune_advisor.images.tables import clean_manifest, manifest_text, review_table
from finetune_advisor.recipes.load import is_edited
from finetune_advisor.records.facts import legible
from finetune_advisor.records.profile import PROFILE_NAME, Cell, Profile
from finetune_advisor.reporting.analysis_page import Advised, chosen_stages, write_page
from finetune_advisor.reporting.gallery import class_strips
from finetune_advisor.storage.files import atomic_write, require_writable
from finetune_advisor.version import __version__

log = logging.getLogger(__name__)


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


PAGE_NAME, CLEAN_NAME, REVIEW_NAME, GROUPS_NAME = "report.html", "clean.csv", "review.csv", "groups.csv"


Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Analysis:
    """A profile with its place in the table, and the recipe it leads to."""

    listing: Listing
    profile: Profile
    advice: Advice
    expected_seconds: float | None = None
    """How long the recipe should run here; None where nobody measured it."""

    def save(self, recipe: Path, folder: Path) -> None:
        """Write profile, page, clean manifest and what wants a look into `folder`, then the recipe.

        Each is written whole or not at all.
        """
        self.profile.save(folder / PROFILE_NAME)
        manifest = clean_manifest(self.listing, self.profile.health, relative_to=folder)
        atomic_write(folder / CLEAN_NAME, manifest.encode(errors="surrogateescape"))
        self._save_groups(folder / GROUPS_NAME)
        review = review_table(self.listing, self.profile.health, relative_to=folder)
        atomic_write(folder / REVIEW_NAME, review.encode(errors="surrogateescape"))
        write_report(
            folder / PAGE_NAME,
            self.profile,
            self.advice,
            self.listing,
            recipe=recipe,
            clean=folder / CLEAN_NAME,
            seconds=self.expected_seconds,
        )
        atomic_write(recipe, self.advice.yaml(recipe.parent))

    def _save_groups(self, path: Path) -> None:
        """Write the images with their groups and a split that no group straddles, or say why not."""
        if Path(self.listing.source) == path.absolute():
            return  # it is what was analyzed
        if self.profile.groups is None or self.profile.sampled is not None:
            reason = "only a sample of the images was looked at; --limit N looks at more"
        else:
            text = grouped_manifest(self.listing, self.profile.groups, seed=self.profile.seed, relative_to=path.parent)
            atomic_write(path, text.encode(errors="surrogateescape"))
            return
        path.unlink(missing_ok=True)  # one of an earlier analysis would be of other images
        say = log.warning if self.profile.health.duplicates_across_splits else log.info
        say("%s is not written: %s", path, reason)


def grouped_manifest(listing: Listing, groups: Sequence[Sequence[str]], *, seed: int, relative_to: Path) -> str:
    """CSV text `path,label,split[,group]` of all images; the user's split is redrawn where a group straddles it.

    Args:
        listing: as the user gave it.
        groups: names of images that stay together, as a profile holds them.
        seed: of the draw.
        relative_to: the folder the manifest will lie in.
    """
    width = len(str(len(groups)))
    group_of = {name: f"g{number:0{width}}" for number, group in enumerate(groups, start=1) for name in group}
    named = {sample.name: group_of[key] for sample in listing.samples if (key := legible(sample.name)) in group_of}
    samples = (replace(sample, group=named.get(sample.name)) for sample in redrawn(listing, named, seed=seed).samples)
    return manifest_text(samples, listing.classes, relative_to=relative_to, packed=listing.packed)


def require_place(recipe: Path, folder: Path, *, force: bool = False) -> None:
    """Check, before anything is measured, that `Analysis.save` may write here; leaves nothing behind.

    Raises:
        RunError: the recipe is there and not as `analyze` wrote it, and `force` does not say to replace it.
        StorageError: the place cannot be written.
    """
    if recipe.is_dir():
        raise RunError(f"{recipe} is a folder; expected the name of a file to write.", "Choose it with -o FILE.")
    if not force and is_edited_by_hand(recipe):
        raise RunError(
            f"{recipe} was edited by hand and is not overwritten.", "Use --force to replace it, or -o OTHER_FILE."
        )
    require_writable(recipe)
    require_writable(folder / PROFILE_NAME)


def is_edited_by_hand(recipe: Path) -> bool:
    """Whether there is a recipe file that is not as `analyze` wrote it."""
    return recipe.is_file() and is_edited(recipe.read_text(encoding="utf-8", errors="replace"))


def analyze_and_advise(
    data: str | Path,
    *,
    group: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    merge_classes: bool = False,
    class_folders: ClassFolders | None = None,
    backbone: str = RULER,
    weights: str | None = None,
    strategy: Cell | None = None,
    seed: int = 0,
    limit: int = LIMIT,
    device: str = "auto",
    use_cache: bool = True,
    progress: Progress | None = None,
    probe_progress: Progress | None = None,
    view_progress: Progress | None = None,
) -> Analysis:
    """Measure the images, place them in the table, choose a recipe; writes nothing but the cache.

    Args:
        data: the images; see `open_source`.
        group: column of a manifest whose values never straddle a split.
        path_column, label_column, merge_classes, class_folders: how the images are read; see `open_source`.
        backbone, weights: the network to be fine-tuned; see `analyze`.
        strategy: a cell to use instead of the one the table points to.
        seed: seeds split, folds and bootstrap.
        limit: most images to look at.
        device: `auto`, or a torch device.
        use_cache: False measures every image again.
        progress, probe_progress, view_progress: called with (done, to do) while images are measured, probes fitted, and
            some images seen another way.

    Raises:
        DataError, BackboneError: what the person can mend.
    """
    listing = open_source(
        data,
        group=group,
        path_column=path_column,
        label_column=label_column,
        merge_classes=merge_classes,
        class_folders=class_folders,
    )
    measured = analyze(
        listing,
        group=group,
        backbone=backbone,
        weights=weights,
        seed=seed,
        limit=limit,
        device=device,
        use_cache=use_cache,
        progress=progress,
        probe_progress=probe_progress,
        view_progress=view_progress,
    )
    profile = place(measured.model_copy(update={"data": str(data)}))
    advice = advise(profile, strategy=strategy)
    return Analysis(listing, profile, advice, expected_seconds(profile, advice.recipe, device=device))
