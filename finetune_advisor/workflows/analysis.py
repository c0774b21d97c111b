"""Images measured, placed in the table, given a recipe; and what is written about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.advice.advise import Advice, advise
from finetune_advisor.advice.duration import expected_seconds
from finetune_advisor.advice.table import place
from finetune_advisor.analysis.analyze import LIMIT, analyze
from finetune_advisor.artifacts.profile import PROFILE_NAME, Cell, Profile
from finetune_advisor.artifacts.recipe_file import is_edited
from finetune_advisor.artifacts.storage import atomic_write, require_writable
from finetune_advisor.backbones.bundled import RULER
from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.data.clean_manifest import clean_manifest, review_table
from finetune_advisor.data.sample import stratified_sample
from finetune_advisor.data.sources import Listing, open_source
from finetune_advisor.errors import RunError
from finetune_advisor.workflows.page import write_report

PAGE_NAME, CLEAN_NAME, REVIEW_NAME = "report.html", "clean.csv", "review.csv"

Progress = Callable[[int, int], None]
TrialProgress = Callable[[int, int, str], None]


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
        atomic_write(recipe, self.advice.yaml())


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
    trial_minutes: float | None = None,
    trial_progress: TrialProgress | None = None,
) -> Analysis:
    """Measure the images, place them in the table, choose a recipe; writes nothing but the cache.

    What was measured is remembered, a trial is not: it is no property of the images but of the minutes, of the machine
    that afternoon, and of the recipes that this version would write; who asks for one gets it.

    Args:
        data: the images; see `open_source`.
        group: column of a manifest whose values never straddle a split.
        backbone, weights: the network to be fine-tuned; see `analyze`.
        strategy: a cell to use instead of the one the table points to.
        seed: seeds split, folds and bootstrap.
        limit: most images to look at.
        device: `auto`, or a torch device.
        use_cache: False measures every image again.
        progress, probe_progress, view_progress: called with (done, to do) while images are measured, probes fitted, and
            some images seen another way.
        trial_minutes: settle a border case by short runs of the neighboring recipes, and of `strategy`, within so many
            minutes.
        trial_progress: called with (seconds gone, seconds given, what is done) during a trial.

    Raises:
        DataError, BackboneError: what the person can mend.
        Interrupted: Ctrl-C or SIGTERM during a trial.
    """
    listing = open_source(data, group=group)
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
    if trial_minutes is not None:
        from finetune_advisor.workflows.trial import trial

        tried = trial(
            stratified_sample(listing, limit, seed=seed),
            profile,
            minutes=trial_minutes,
            named=strategy,
            device=torch_device(device),
            progress=trial_progress,
        )
        profile = place(profile.model_copy(update={"trial": tried}))
    advice = advise(profile, strategy=strategy)
    return Analysis(listing, profile, advice, expected_seconds(profile, advice.recipe, device=device))
