"""The verb: Profile -> Recipe, every chosen line with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.advice.rules import KEEP, choices
from finetune_advisor.advice.sentences import why
from finetune_advisor.advice.table import leak_warning, place, predict
from finetune_advisor.artifacts.profile import Cell, Predicted, Profile
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import change_recipe, dump_recipe, load_recipe
from finetune_advisor.techniques.strategy import FewLayers, LinearProbe, ManyLayers, StageProbe


@dataclass(frozen=True)
class Advice:
    """A recipe for measured data, and the reason for every line that was chosen."""

    recipe: Recipe
    reasons: dict[str, str]
    expected: Predicted
    """Accuracy of this recipe on unseen images, as far as the probes can tell."""
    header: str

    @property
    def cell(self) -> Cell:
        """The place in the table whose recipe this is: the one measured, or the one a person asked for."""
        strategy = self.recipe.strategy
        assert isinstance(strategy, LinearProbe | StageProbe | FewLayers | ManyLayers), strategy.kind
        return strategy.kind

    def yaml(self) -> str:
        """The recipe as it is written to recipe.yaml."""
        return dump_recipe(self.recipe, reasons=self.reasons, header=self.header)


def advise(profile: Profile, *, strategy: Cell | None = None) -> Advice:
    """Choose the recipe of the profile's cell and adjust it to the data.

    Args:
        profile: from `analyze`; placed in the table here if it is not yet.
        strategy: a cell to use instead of the one the table points to.
    """
    placed = profile if profile.cell else place(profile)
    assert placed.cell is not None
    cell = strategy or placed.cell
    chosen = choices(placed, cell)
    values = {choice.key: choice.value for choice in chosen if choice.value is not KEEP}
    recipe = change_recipe(load_recipe(cell), values)
    expected = predict(placed, cell)
    reasons = {choice.key: choice.reason for choice in chosen}
    return Advice(recipe, reasons, expected, _header(placed, cell, expected))


def _header(profile: Profile, cell: Cell, expected: Predicted) -> str:
    lines = [
        f"A {cell} recipe for {Path(profile.data).name}, written by `finetune-advisor analyze`.",
        "Comments above a line say why it was chosen; change what you know better, then:",
        "    finetune-advisor run THIS_FILE",
        "",
        *why(profile, cell),
        f"Expected accuracy on unseen images: {expected.accuracy:.3f} [{expected.low:.3f}, {expected.high:.3f}], "
        f"from {expected.basis}.",
    ]
    if leak_warning(profile):
        lines.insert(-1, "The folds that this rests on may be too kind: one object or scene may lie on both sides.")
    return "\n".join(lines)
