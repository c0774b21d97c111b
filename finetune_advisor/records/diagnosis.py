"""What the curves and the weights of a run say, and the recipe edit that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from finetune_advisor.errors import RunError
from finetune_advisor.records.facts import Document, Fact, Name

Sign = Literal[
    "rate_too_high",
    "too_few_evaluations",
    "rate_too_low",
    "refit_astray",
    "overfitting",
    "over_confident",
    "underfitting",
    "still_improving",
    "plateau",
    "noisy_loss",
    "large_updates",
    "small_updates",
    "dead_units",
    "noisy_filters",
    "never_predicted",
    "label_suspects",
    "strength_at_the_edge",
]
"""What can be seen, in the order in which it is mended: what stands first would distort what follows."""


class Edit(Fact):
    """One key of the recipe with another value."""

    key: str
    """Dotted, as `--set` takes it."""
    value: Any
    reason: str


class Finding(Fact):
    """One sign that was seen."""

    sign: Sign
    title: str
    """In a few words."""
    evidence: str
    """The numbers that it was seen by, in a sentence."""
    meaning: str
    """What it comes from and what helps."""
    figures: dict[str, float] = Field(default_factory=dict)
    """The same numbers for scripts."""
    names: tuple[Name, ...] = ()
    """The classes or images it is about."""
    edits: tuple[Edit, ...] = ()
    """Empty where a person has to look first."""


class Diagnosis(Document):
    """Everything that was seen, most important first; empty findings are a healthy run."""

    run: str
    finished: bool
    healthy: str
    """What was looked at without anything being seen, in a sentence."""
    findings: tuple[Finding, ...]
    leak: str | None = None
    """What near-duplicates of training images do to the score, a sentence; None where there are none."""
    refit: str | None = None
    """Which training the curves are of, where the model is of a second one; a sentence."""
    unseen: tuple[str, ...] = ()
    """What could not be looked at, and why."""

    @property
    def edits(self) -> dict[str, Edit]:
        """By key; where two findings change the same key, the more important one does."""
        edits: dict[str, Edit] = {}
        for edit in (edit for finding in self.findings for edit in finding.edits):
            edits.setdefault(edit.key, edit)
        return edits

    @property
    def verdict(self) -> str:
        """The most important thing in one line."""
        if not self.findings:
            return self.healthy
        first, others = self.findings[0], len(self.findings) - 1
        return f"{first.title}: {first.evidence}" + (f" (and {others} more)" if others else "")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing, damaged or of another version.
        """
        return cls._read(
            path,
            missing=RunError(f"There is no diagnosis at {path}.", "Run `finetune-advisor diagnose RUN` first."),
            damaged=lambda problem: RunError(
                f"{path} is not a diagnosis that this version can read: {problem}",
                "Run `finetune-advisor diagnose RUN` again to rewrite it.",
            ),
        )
