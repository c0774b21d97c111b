"""The verb: Profile -> Recipe, every line that the data decided with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.advice.rules import KEEP, choices
from finetune_advisor.advice.sentences import expected_accuracy, majority_sentence
from finetune_advisor.advice.table import leak_warning, placed, predict
from finetune_advisor.artifacts.profile import Cell, Predicted, Profile
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import change_recipe, dump_recipe, load_recipe, recipe_for_file
from finetune_advisor.techniques.strategy import FewLayers, LinearProbe, ManyLayers, StageProbe


@dataclass(frozen=True)
class Advice:
    """A recipe for measured data, and the reason for every line that the data decided."""

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

    def yaml(self, folder: Path | None = None) -> str:
        """The recipe as it is written to a file in `folder`, where its paths start; None: where one stands."""
        recipe = self.recipe if folder is None else recipe_for_file(self.recipe, folder)
        return dump_recipe(recipe, reasons=self.reasons, header=self.header)


def advise(profile: Profile, *, strategy: Cell | None = None) -> Advice:
    """Choose the recipe of the profile's cell and adjust it to the data.

    Args:
        profile: from `analyze`; placed in the table here if it is not yet.
        strategy: a cell to use instead of the one the table points to.
    """
    known = placed(profile)
    assert known.cell is not None, "just placed"
    cell = strategy or known.cell
    chosen = choices(known, cell)
    values = {choice.key: choice.value for choice in chosen if choice.value is not KEEP}
    recipe = change_recipe(load_recipe(cell), values)
    expected = predict(known, cell)
    reasons = {choice.key: str(choice.reason) for choice in chosen if choice.reason is not None}
    return Advice(recipe, reasons, expected, _header(known, cell, expected))


def _header(profile: Profile, cell: Cell, expected: Predicted) -> str:
    majority = majority_sentence(expected)
    lines = [
        f"A {cell} recipe for {Path(profile.data).resolve().name}, written by `finetune-advisor analyze`.",
        "Comments above a line say which figures decided; ± is one standard error. Change what you know better, then:",
        "    finetune-advisor run THIS_FILE",
        "",
        f"Expected accuracy on unseen images: {expected_accuracy(expected)}{f'; {majority}' if majority else ''}.",
        f"It comes from {expected.basis}.",
    ]
    if leak_warning(profile):
        lines.insert(-2, "The folds that this rests on may be too kind: one object or scene may lie on both sides.")
    return "\n".join(lines)
