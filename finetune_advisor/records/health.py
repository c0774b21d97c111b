"""What is wrong with the files: the part of a profile that looks at test images too."""

from __future__ import annotations

from pydantic import Field

from finetune_advisor.records.facts import Fact, Name


class BadFile(Fact):
    path: Name
    reason: str


class Imbalance(Fact):
    largest: Name
    smallest: Name
    ratio: float
    """Images of the largest class over images of the smallest one, in the trainable part."""


class NearDuplicates(Fact):
    """Images that show the same picture: resized, compressed again, slightly cropped, or at another exposure."""

    images: tuple[Name, ...]
    """At least two; one of them is confirmed directly as a copy of each of the others."""
    correlation: float
    """Of the weakest such pair of aligned thumbnails, 1 for the same pixels."""


class SplitLeak(Fact):
    """Copies and groups that lie both in a split that is scored and in one that is trained on."""

    groups: int
    identical: int
    """Groups of byte-identical files among them."""
    own: int = 0
    """Groups among them that only the user's group column names."""
    splits: tuple[str, str]
    """The split that scores too high, `test` where it is among them, after the one it shares images with."""
    images: int
    """Images of the second split that belong to these groups."""
    example: tuple[Name, Name]
    """Two images of a group, in the two splits."""


class LabelSuspect(Fact):
    """An image whose label the classifiers that did not see it contradict."""

    path: Name
    label: Name
    suggestion: Name
    label_probability: float
    """Out-of-fold probability of the label it has."""
    suggestion_probability: float


class Outlier(Fact):
    """An image far from all others, of whatever class."""

    path: Name
    label: Name
    distance: float
    """Distance to its near neighbors over the usual such distance in the data set."""


class OddImage(Fact):
    """An image whose size, shape or color mode is unlike that of the others."""

    path: Name
    reason: str


class BlankImage(Fact):
    """An image that shows nothing: every pixel has nearly the same color."""

    path: Name
    reason: str
    """Which color, in words: `all black`, `all white`, `all one color (R, G, B)`."""


class Tones(Fact):
    """How bright the images are, and in how many steps: a wrong scale of the pixel values shows here."""

    images: int
    dark: int
    """Images with hardly a spot brighter than a fifth of the full scale, black ones among them."""
    levels_images: int
    """Images whose levels were counted: a sample."""
    few_levels: int
    """Of these, the images that have at most 16 different gray levels."""
    levels: int
    """Different gray levels of the median image of the sample."""

    @property
    def mostly_dark(self) -> bool:
        return 2 * self.dark > self.images

    @property
    def mostly_few_levels(self) -> bool:
        return 2 * self.few_levels > self.levels_images


GRAY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "F"})
"""Pillow's color modes without color."""


OFF_SQUARE = 0.25
"""Share of images that are far from square from which it matters what a crop cuts off."""

SMALL_PX, ENLARGED = 128, 1.25
"""Side of the view `small`, and how many times as large the median shorter side may be: larger images have details to
show, which a smaller input would lose whatever frozen features say."""


class ImageSizes(Fact):
    """Sizes in pixels and shapes of the readable images."""

    shorter_side: tuple[float, float, float]
    """5 %, 50 % and 95 % quantile of the shorter side."""
    aspect: tuple[float, float, float]
    """5 %, 50 % and 95 % quantile of width over height."""
    off_square: float
    """Share of images whose longer side is at least 1.25 times the shorter one."""
    kept_by_crop: float | None = None
    """Median over the images of the share of its area that the largest square in its middle shows."""

    @property
    def many_off_square(self) -> bool:
        """Whether padding is worth a thought."""
        return self.off_square >= OFF_SQUARE

    @property
    def small(self) -> bool:
        """Whether most images have nothing to show at a larger size than that of the view `small`."""
        return self.shorter_side[1] <= ENLARGED * SMALL_PX


class ValueScale(Fact):
    """The one scale of training images with more than 8 bits per channel; others stay as they are."""

    range: tuple[float, float]
    """The values that are shown black and white; those beyond are clipped."""
    images: int
    """Training images with more than 8 bits per channel."""
    of: int
    """Training images that could be opened."""
    measured: int
    """Images whose values were read."""
    types: dict[str, int]
    """Images of each type of number among the measured ones, as numpy names it."""
    lowest: float
    highest: float
    """The extremes of all values that were read."""
    clipped: float
    """Share of the values that were read that lie beyond the range."""


class FoldLeak(Fact):
    """Whether folds drawn image by image promise too much, because relatives lie on both sides."""

    families: int
    """Groups that were kept together: copies, near-duplicates, and the user's own groups."""
    images_in_families: int
    """Images that share such a group with another one."""
    accuracy_alone: float | None = None
    """Accuracy of the best probe on folds that ignore the families."""
    accuracy_together: float | None = None
    """The same on folds that keep them together."""
    suspicious: bool = False
    """Whether signs are left that more relatives went unnoticed."""
    sign: str | None = None
    """The sign, in a sentence with its numbers."""


class Health(Fact):
    """Everything that is wrong with the files; the only part that looks at test images."""

    bad_files: tuple[BadFile, ...]
    ignored_files: tuple[Name, ...]
    """Files in class folders that are not images."""
    notes: tuple[Name, ...] = ()
    """Sentences about what was read otherwise than one may expect: rows left out, class names that are nearly the
    same, columns that are not used."""
    exact_duplicates: tuple[tuple[Name, ...], ...]
    """Groups of byte-identical files."""
    near_duplicates: tuple[NearDuplicates, ...] = ()
    """Groups of images that show the same picture without being byte-identical, as far as that is certain."""
    near_duplicates_unchecked: int = 0
    """Images with too little detail, below about 32 x 32 pixels, to tell near-duplicates from images that are alike."""
    duplicates_across_splits: tuple[tuple[Name, ...], ...]
    """Groups of exact or near duplicates that lie in more than one split."""
    split_leak: SplitLeak | None = None
    """What of it, and of the user's own groups, a score suffers from; None where it suffers from nothing."""
    duplicates_across_classes: tuple[tuple[Name, ...], ...]
    label_suspects: tuple[LabelSuspect, ...] = ()
    """Most suspicious first."""
    outliers: tuple[Outlier, ...] = ()
    """Farthest first."""
    odd_images: tuple[OddImage, ...] = ()
    blank_images: tuple[BlankImage, ...] = ()
    """Black, white and other images of one color; at most 1,000 are named."""
    tones: Tones | None = None
    sizes: ImageSizes | None = None
    color_modes: dict[str, int] = Field(default_factory=dict)
    """Images of each color mode, as Pillow names them."""
    values: ValueScale | None = None
    """None where all training images have 8 bits per channel or fewer."""
    leak: FoldLeak | None = None
    imbalance: Imbalance
