"""What was measured and what follows from it, in sentences with their figures."""

from __future__ import annotations

import math

from finetune_advisor.advice.choice import Change, Cite, Reason, cite, digits_beside, say
from finetune_advisor.advice.table import MEANING, RARE_CLASS_FACTOR
from finetune_advisor.records.profile import Cell, Predicted, Profile, View, ViewEffect

EVEN_SHARE = 0.9
"""Classes count as even when their effective number is at least this share of their number."""

SURE_OF_ALL = 0.9995
"""An accuracy from which three digits read as 1."""


def amount_reason(profile: Profile) -> Reason:
    """Which number of images per class decided, beside the border it was compared with."""
    size = profile.size
    counted, border = cite(profile, "size.counted_per_class"), cite(profile, "size.plenty_per_class")
    assert size.counted_per_class is not None and size.plenty_per_class is not None, "the profile is not placed"
    below = size.verdict == "little"
    digits = digits_beside(size.counted_per_class, size.plenty_per_class, below=below, digits=0)
    compared = "fewer than" if below else "at least"
    if size.counted_per_class < size.per_effective_class:
        # The border in images of the smallest class: a class has one more or one less, so the next whole number.
        return say(
            "the smallest class has {smallest} images, {compared} the {least} from which layers are trained",
            counted,
            border,
            smallest=cite(profile, "size.smallest_class"),
            compared=compared,
            least=math.ceil(size.plenty_per_class / RARE_CLASS_FACTOR - 1e-6),
        )
    typical = size.effective_classes < EVEN_SHARE * len(profile.classes)
    return say(
        "{counted:,.{digits}f} images {per}, {compared} the {border:,.0f} from which layers are trained",
        counted=counted,
        digits=digits,
        per="in the class of a typical image" if typical else "per class",
        compared=compared,
        border=border,
    )


def similarity_reason(profile: Profile, *, interval: bool = True) -> Reason:
    """The similarity to ImageNet beside the border, with its interval where that decides which neighbors are named."""
    similarity = profile.similarity
    assert similarity.threshold is not None, "the profile is not placed"
    below = similarity.verdict == "different"
    figures: dict[str, object] = {
        "score": cite(profile, "similarity.score"),
        "digits": digits_beside(similarity.score, similarity.threshold, below=below, digits=2),
        "side": "below" if below else "at least",
        "border": cite(profile, "similarity.threshold"),
    }
    if not interval:
        return Reason("similarity to ImageNet {score:.{digits}f}, {side} {border:.2f}", figures)
    figures |= {"low": cite(profile, "similarity.low"), "high": cite(profile, "similarity.high")}
    return Reason("similarity to ImageNet {score:.{digits}f} [{low:.2f}, {high:.2f}], {side} {border:.2f}", figures)


def transfer_change(profile: Profile, view: View) -> Change:
    """What another view does to classifiers that did not learn it, where it was measured."""
    return Change(*(cite(profile, f"views.{view}.{name}") for name in ("accuracy", "transferred", "transferred_std")))


def refit_change(profile: Profile, view: View) -> Change:
    """What learning a view, or both ways to see an image, does to classifiers, where it was measured."""
    return Change(*(cite(profile, f"views.{view}.{name}") for name in ("accuracy", "refitted", "std")))


def gates_of(effect: ViewEffect, profile: Profile) -> tuple[Cite, Cite, Cite]:
    """The figures behind `ViewEffect.beats_majority`."""
    accuracy, majority, std = (
        cite(profile, f"views.{effect.view}.{name}") for name in ("accuracy", "majority", "majority_std")
    )
    return accuracy, majority, std


def blind_reason(effect: ViewEffect, profile: Profile) -> Reason:
    """That a classifier which knows no more than the largest class cannot tell what a view does."""
    accuracy, majority, std = gates_of(effect, profile)
    if effect.majority is None:
        return say("not known whether the linear classifier beats the largest class", accuracy, majority, std)
    template = "nothing could be measured: linear classifier {accuracy:.3f}, largest class {majority:.3f}"
    return say(template, std, accuracy=accuracy, majority=majority)


def cell_sentence(profile: Profile, cell: Cell) -> str:
    """Which cell it is, and which others are near."""
    what = f"{cell}, {MEANING[cell]}"
    if cell != profile.cell:
        return f"Chosen by hand: {what}; {pointer(profile)}."
    near = ", ".join(neighbor.cell for neighbor in profile.neighbors)
    return f"Together: {what}{f' (near a border: {near})' if near else ''}."


def pointer(profile: Profile) -> str:
    """What leads to the profile's cell."""
    return f"the table points to {profile.cell}"


def why(profile: Profile, cell: Cell) -> tuple[str, str, str]:
    """Three lines: how much data, how similar, and what follows."""
    images = f"{profile.size.images:,} images in {len(profile.classes):,} classes"
    if profile.sampled is not None:
        images += f", measured on a sample of {profile.sampled.images:,}"
    amount = f"{images}: {amount_reason(profile)}."
    return amount, sentence(similarity_reason(profile)), cell_sentence(profile, cell)


def expected_accuracy(expected: Predicted) -> str:
    """The accuracy with its interval; the interval alone where no held-out image was wrong, which proves no 1.000."""
    if expected.accuracy >= SURE_OF_ALL:
        return f"{expected.low:.3f} to {expected.high:.3f}"
    return f"{expected.accuracy:.3f} [{expected.low:.3f}, {expected.high:.3f}]"


def majority_sentence(expected: Predicted) -> str | None:
    """What the accuracy is to be compared with: naming the largest class every time."""
    if expected.majority is None:
        return None
    return f"always naming the largest class: {expected.majority:.3f}"


def sentence(reason: Reason) -> str:
    """A reason as a whole sentence."""
    text = str(reason)
    return f"{text[:1].upper()}{text[1:]}."
