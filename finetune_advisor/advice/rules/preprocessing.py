"""Rules for `preprocessing`: the scale of the pixels, the size of the network's input, and whether to crop or pad."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.advice.choice import KEEP, Choice, points
from finetune_advisor.advice.table import TRAINED
from finetune_advisor.artifacts.health import SMALL_PX
from finetune_advisor.artifacts.profile import Cell, Profile

LEAST_KEPT = 0.5
"""Share of the median image that a crop has to show where padding was not tried."""


def scale(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """That of the pretraining."""
    reason = f"{profile.backbone} knows images by the mean and deviation of its pretraining, and takes no others."
    yield Choice("preprocessing.kind", KEEP, reason)


def size(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """The measured size, or a smaller one where layers are trained and nothing is lost by it."""
    effect, sizes, usual = profile.view("small"), profile.health.sizes, profile.size_px
    measured = f"{usual} pixels is what was measured at"
    if effect is None or usual <= SMALL_PX:
        yield Choice("preprocessing.size", usual, f"{measured}; no smaller size was tried.")
        return
    gain = effect.refitted - effect.accuracy
    tried = f"At {SMALL_PX} pixels a probe scores {points(gain)} (standard error {100 * effect.std:.1f})"
    if cell not in TRAINED:
        yield Choice("preprocessing.size", usual, f"{measured}. {tried}; a probe has no training to speed up.")
    elif gain < -effect.std:
        yield Choice("preprocessing.size", usual, f"{tried}, so {usual} pixels, as measured.")
    elif sizes is None or not sizes.small:
        shows = "not known" if sizes is None else f"{sizes.shorter_side[1]:.0f} pixels"
        reason = f"{tried}; the images' own shorter side is {shows}, which trained layers may use at {usual} pixels."
        yield Choice("preprocessing.size", usual, reason)
    else:
        speed = (usual / SMALL_PX) ** 2
        reason = (
            f"{tried}, and the images' own shorter side is {sizes.shorter_side[1]:.0f} pixels: an epoch is about "
            f"{speed:.1f} times faster than at {usual}."
        )
        yield Choice("preprocessing.size", SMALL_PX, reason)


def value_range(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The scale that was measured, where images have more than 8 bits per channel."""
    values = profile.health.values
    if values is None:
        return
    clipped = f", of which {100 * values.clipped:.2g} % are clipped" if values.clipped else ""
    reason = (
        f"{values.images:,} of {values.of:,} training images have over 8 bits per channel. One scale for all: values "
        f"run from {values.lowest:g} to {values.highest:g}{clipped}."
    )
    yield Choice("preprocessing.value_range", values.range, reason)


def fit(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Crop as in the pretraining, or pad where the data shows that what a crop cuts off is missed."""
    sizes, effect = profile.health.sizes, profile.view("pad")
    if sizes is not None and _crop_hides_most(profile):
        reason = (
            f"A center crop would show {100 * (sizes.kept_by_crop or 0):.0f} % of the median image; "
            "whether padding scores more was not measured."
        )
        yield Choice("preprocessing.fit", "pad", reason)
        return
    if pads(profile):
        assert sizes is not None and effect is not None
        gain = effect.refitted - effect.accuracy
        reason = (
            f"{100 * sizes.off_square:.0f} % of the images are far from square, and a probe on padded images scores "
            f"{points(gain)} (standard error {100 * effect.std:.1f}): what a crop cuts off is missed."
        )
        yield Choice("preprocessing.fit", "pad", reason)
        return
    if sizes is None:
        reason = f"As {profile.backbone} was pretrained; shapes of the images were not measured."
    elif not sizes.many_off_square:
        reason = f"As in the pretraining: only {100 * sizes.off_square:.0f} % of the images are far from square."
    elif effect is None:
        reason = (
            f"As in the pretraining: {100 * sizes.off_square:.0f} % are far from square, but padding was not tried."
        )
    else:
        reason = (
            f"{100 * sizes.off_square:.0f} % of the images are far from square, but padding them does not help: "
            f"{points(effect.refitted - effect.accuracy)} (standard error {100 * effect.std:.1f})."
        )
    yield Choice("preprocessing.fit", KEEP, reason)


def pads(profile: Profile) -> bool:
    """Whether images are padded: a crop would hide most of them and nobody measured what that costs; or enough of them
    are far from square, and a probe gains more than a standard error."""
    sizes, effect = profile.health.sizes, profile.view("pad")
    if sizes is None or effect is None or not sizes.many_off_square:
        return _crop_hides_most(profile)
    return effect.refitted - effect.accuracy > effect.std


def _crop_hides_most(profile: Profile) -> bool:
    """Where padding was not tried, as on very few images, the shape of the images decides."""
    sizes = profile.health.sizes
    if sizes is None or sizes.kept_by_crop is None or profile.view("pad") is not None:
        return False
    return sizes.kept_by_crop < LEAST_KEPT
