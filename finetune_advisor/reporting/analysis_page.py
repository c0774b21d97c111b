"""The page that `analyze` writes: one file that opens anywhere, without a network and without JavaScript."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.profile import PROFILE_NAME, Cell, Predicted, Profile, Size
from finetune_advisor.reporting.charts import probe_plot, references, similarity_plot, stage_plot, table_plot
from finetune_advisor.reporting.curve_chart import curve_plot
from finetune_advisor.reporting.findings import findings, split_leak, wants_review
from finetune_advisor.reporting.gallery import SIDE, SMALL, ClassStrip, gallery, thumbnails
from finetune_advisor.reporting.pages import template, yaml_lines
from finetune_advisor.reporting.sentences import FORECAST_HOLDS, gain_sentence
from finetune_advisor.storage.files import atomic_write
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.text import quoted, shown

EACH_END = 10
"""Of many classes the largest and the smallest so many are shown."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    name: str
    images: int
    share: float
    """Of the largest class, 0..1: the length of the bar."""
    test: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Classes by number of trainable images, largest first."""

    top: tuple[ClassRow, ...]
    left_out: int
    """Classes between the two ends."""
    bottom: tuple[ClassRow, ...]


def balance(profile: Profile) -> Balance | None:
    """The classes; None where the profile has no counts by class."""
    counts = _trainable(profile)
    if not counts:
        return None
    test = profile.splits["test"].per_class if "test" in profile.splits else {}
    largest = max(counts.values()) or 1
    rows = [
        ClassRow(shown(name, 40), images, images / largest, test.get(name, 0))
        for name, images in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    if len(rows) <= 2 * EACH_END + 1:
        return Balance(tuple(rows), 0, ())
    return Balance(tuple(rows[:EACH_END]), len(rows) - 2 * EACH_END, tuple(rows[-EACH_END:]))


def largest_share(profile: Profile) -> float | None:
    """Accuracy of naming the largest class every time; None where the profile has no counts by class."""
    counts = _trainable(profile)
    total = sum(counts.values())
    return max(counts.values()) / total if total else None


def _trainable(profile: Profile) -> Counter[str]:
    counts: Counter[str] = Counter()
    for split, count in profile.splits.items():
        if split != "test":
            counts.update(count.per_class)
    return counts


FEW_CLASSES = 4
"""Classes whose images are shown larger, two classes side by side."""


@dataclass(frozen=True)
class Advised:
    """What the advice says, in words and names: the page does not know how it was decided."""

    strategy: Cell
    """The recipe that was written."""
    chosen_stages: tuple[str, ...]
    """Probes that the recipe fits; empty where it trains layers."""
    expected: Predicted
    why: tuple[str, ...]
    """Sentences: how much data, how similar, and what follows."""
    cells: Mapping[tuple[str, str], Cell]
    """(size verdict, similarity verdict) -> cell."""
    meanings: Mapping[Cell, str]
    """What each cell's recipe does, in a few words."""
    recipe_yaml: str
    seconds: float | None = None
    """How long the recipe should run here; None where nobody measured it."""


def write_page(
    path: Path,
    profile: Profile,
    *,
    advised: Advised,
    recipe: Path,
    images: Mapping[str, Path],
    version: str,
    clean: Path | None = None,
    strips: Sequence[ClassStrip] = (),
    now: datetime | None = None,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the file to write; profile.json lies beside it.
        profile: placed in the table by `advice`.
        advised: what the advice says of it.
        recipe: where the recipe was written, for the commands on the page.
        images: name in the profile -> the file itself; without it the name is shown instead.
        clean: the manifest without unreadable files and extra copies, where one was written; review.csv lies beside it.
        strips: a few images of each class.
        version: of this package.
        now: the date on the page; None is today.

    Raises:
        StorageError: the file cannot be written.
    """
    html = page(
        profile,
        advised=advised,
        recipe=recipe,
        images=images,
        version=version,
        clean=clean,
        strips=strips,
        now=now,
    )
    atomic_write(path, html.encode(errors="backslashreplace"))


def page(
    profile: Profile,
    *,
    advised: Advised,
    recipe: Path,
    images: Mapping[str, Path],
    version: str,
    clean: Path | None = None,
    strips: Sequence[ClassStrip] = (),
    now: datetime | None = None,
) -> str:
    """The HTML that `write_page` writes."""
    assert profile.cell is not None, "the profile is not placed"
    pictures = gallery(profile.health)
    return template("analysis.html.j2").render(
        profile=profile,
        advised=advised,
        forecast_holds=FORECAST_HOLDS,
        name=data_name(profile),
        version=version,
        today=f"{now or datetime.now(UTC):%Y-%m-%d}",
        profile_name=PROFILE_NAME,
        leak=split_leak(profile, clean.parent if clean is not None else None),
        findings=findings(profile),
        gallery=pictures,
        thumbnails=thumbnails(pictures.keys(), images, value_range=profile.value_range),
        strips=strips,
        strip_thumbnails=thumbnails(
            (one.key for strip in strips for one in strip.pictures),
            images,
            side=SIDE if len(strips) <= FEW_CLASSES else SMALL,
            value_range=profile.value_range,
        ),
        few_classes=FEW_CLASSES,
        balance=balance(profile),
        guess=largest_share(profile),
        table=table_plot(profile, advised.cells, advised.meanings),
        similarity=similarity_plot(profile.similarity, references()),
        stages=stage_plot(profile.similarity, references()),
        probes=probe_plot(profile.probes, advised.chosen_stages, largest_share(profile)),
        curve=curve_plot(profile.size),
        gain=gain_sentence(profile.size),
        amount=_amount(profile.size),
        recipe_lines=yaml_lines(advised.recipe_yaml),
        commands=_commands(profile, recipe, clean),
    )


def data_name(profile: Profile) -> str:
    """What the data is called in a heading: the last part of its path."""
    return shown(Path(profile.data).name or profile.data)


def _amount(size: Size) -> str | None:
    """The amount beside its border, where it is on the scale from 0 to 1."""
    if size.amount is None or size.threshold is None:
        return None
    return f"amount {size.amount:.2f}, plenty begins at {size.threshold:.2f}"


def _commands(profile: Profile, recipe: Path, clean: Path | None) -> tuple[tuple[str, str], ...]:
    """What to do next: (command, what for)."""
    file, data = quoted(recipe, "RECIPE"), quoted(profile.data, "DATA")
    found = [(f"finetune-advisor run {file}", "Train it. The result is a folder under runs/.")]
    if profile.neighbors:
        other = f"{profile.neighbors[0].cell}"
        command = f"finetune-advisor analyze {data} --strategy {other} -o {other}.yaml"
        found.append((command, "The recipe across the border, to compare."))
    if clean is not None and (profile.health.bad_files or profile.health.exact_duplicates):
        command = f"finetune-advisor analyze {quoted(clean, 'CLEAN_CSV')}"
        found.append((command, "Start again without unreadable files and extra copies."))
    if wants_review(profile.health):
        purpose = "After looking through review.csv and correcting what is wrong: only what changed is measured again."
        found.append((f"finetune-advisor analyze {data}", purpose))
    return tuple(found)


TOP = "pooled"
"""The probe on what the network's own classifier sees."""


def chosen_stages(recipe: Recipe) -> tuple[str, ...]:
    """Names of the probes in a profile; empty for a recipe that trains layers."""
    strategy = recipe.strategy
    if isinstance(strategy, LinearProbe):
        return (TOP,)
    if isinstance(strategy, StageProbe):
        return ("all",) if strategy.stages == "all" else strategy.stages
    return ()
