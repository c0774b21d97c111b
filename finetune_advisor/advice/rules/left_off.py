"""Rules for what stays off: the fact of this data that it was weighed against, and why the catalog says never.

Turning one of these on by itself needs a measurement that it helps; see `not_advised` of each technique.
"""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.advice.choice import Choice
from finetune_advisor.advice.rules.training import epochs_of, steps_of
from finetune_advisor.advice.table import TOP, TRAINED
from finetune_advisor.artifacts.profile import Cell, Profile
from finetune_advisor.techniques.averaging import Ema
from finetune_advisor.techniques.base import Technique
from finetune_advisor.techniques.ensembling import CrossValidation, Seeds
from finetune_advisor.techniques.mixing import MixUp


def activation(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The network's own."""
    reason = f"The {profile.weights} weights of {profile.backbone} were learned with its own activations."
    yield Choice("backbone.activation", None, reason)


def hidden(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """A linear classifier, as it was measured."""
    accuracy = profile.probe(TOP).accuracy
    reason = f"A linear classifier on the frozen network scores {accuracy:.3f} on folds; a hidden layer was not tried."
    yield Choice("head.hidden", None, reason)


def mixing(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """None in short training."""
    yield Choice("mixing", None, f"{epochs_of(profile)} epochs. {MixUp.not_advised}")


def averaging(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """None behind a schedule that ends low."""
    yield Choice("averaging", None, f"{steps_of(profile)} steps. {Ema.not_advised}")


def ensemble(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """None without a sure gain; it can be made of the finished run."""
    candidate: type[Technique] = Seeds if cell in TRAINED else CrossValidation
    reason = f"{candidate.measured} {candidate.not_advised} `finetune-advisor ensemble` makes one of a finished run."
    yield Choice("ensemble", None, reason)
