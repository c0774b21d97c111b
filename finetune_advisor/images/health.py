"""What is wrong with a data set as a whole, from plain values.

Shapes: N images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_advisor.images.duplicates import Pair
from finetune_advisor.images.thumbnails import Looks

ODD_SIZE = 4.0
"""An image is odd when its shorter side is this many times smaller or larger than the median.

That is two halvings, as between a preview and its photograph; cameras of one collection differ by less.
"""

ODD_ASPECT = 3.0
"""Longer over shorter side from which an image is odd: panoramas and strips, of which a square crop shows a third."""

RARE = 0.05
"""Oddness is rare: what more than this share of the images have in common is how the data is, not a fault."""

OFF_SQUARE = 1.25
"""Longer over shorter side from which a center crop loses a fifth of the image."""

BLANK_RANGE = 6
"""Gray levels between the darkest and the brightest spot of a thumbnail up to which an image may be blank."""

BLANK_DEVIATION = 4.0
"""Standard deviation of each channel's pixels up to which it is: as with a lens cap on, noise and compression count."""

DARK = 51
"""Gray level, a fifth of the full scale, that hardly a spot of a very dark image reaches."""

DARK_QUANTILE = 0.98
"""Share of the spots of a thumbnail that have to stay below: a bright frame or date does not make an image bright."""

FEW_LEVELS = 16
"""Gray levels of an image that has few: what is left of 12 bits when only the upper 4 survive; a drawing has as few."""

Copies = tuple[tuple[str, ...], ...]
"""Groups of names of images that are the same; at least two in each."""


@dataclass(frozen=True, slots=True)
class NearCopies:
    """Images that show the same picture, not all of them byte-identical."""

    names: tuple[str, ...]
    correlation: float
    """Of the weakest pair that put an image into the group."""


def exact_duplicates(names: Sequence[str], digests: Sequence[str | None]) -> Copies:
    """Names of files with the same content, in the order given; a file without a digest is nobody's copy."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name, digest in zip(names, digests, strict=True):
        if digest is not None:
            same[digest].append(name)
    return tuple(tuple(group) for group in same.values() if len(group) > 1)


def near_duplicate_groups(
    names: Sequence[str], digests: Sequence[str | None], pairs: Sequence[Pair]
) -> tuple[NearCopies, ...]:
    """Groups of near-duplicates, without chains: every image is confirmed directly as a copy of one image of its group.

    An image may be in two groups, but is the one that the others are compared with in one at most. Byte-identical files
    count as one image, and do not make a group by themselves.
    """
    files = _Files(names, digests)
    linked = files.links(pairs)
    return tuple(
        NearCopies(files.names(star), min(linked[star[0]][leaf] for leaf in star[1:])) for star in _stars(linked)
    )


def copies_across(
    names: Sequence[str], digests: Sequence[str | None], pairs: Sequence[Pair], side_of: Mapping[str, object]
) -> Copies:
    """Groups of exact and confirmed near duplicates that lie on more than one side, as in two splits or two classes.

    No chains either: every image of a group is a copy of one image of it that lies on another side or is identical to
    one that does.
    """
    files = _Files(names, digests)
    sides = [{side_of[names[place]] for place in places} for places in files.places]
    linked = files.links(pairs)
    crossing = {
        one: {other: value for other, value in others.items() if len(sides[one] | sides[other]) > 1}
        for one, others in linked.items()
    }
    stars = _stars({one: others for one, others in crossing.items() if others})
    covered = {file for star in stars for file in star}
    stars += [(file,) for file, known in enumerate(sides) if len(known) > 1 and file not in covered]
    return tuple(files.names(star) for star in sorted(stars, key=lambda star: min(files.places[f][0] for f in star)))


class _Files:
    """Contents that differ: each stands for all byte-identical files."""

    def __init__(self, names: Sequence[str], digests: Sequence[str | None]) -> None:
        self._names = names
        number: dict[object, int] = {}
        self._file_N = [
            number.setdefault(place if digest is None else digest, len(number)) for place, digest in enumerate(digests)
        ]
        self.places: list[list[int]] = [[] for _ in number]
        """Where each content is in the list of names."""
        for place, file in enumerate(self._file_N):
            self.places[file].append(place)

    def links(self, pairs: Sequence[Pair]) -> dict[int, dict[int, float]]:
        """Content -> contents that are confirmed to show the same picture, with their correlation."""
        linked: defaultdict[int, dict[int, float]] = defaultdict(dict)
        for pair in pairs:
            one, other = self._file_N[pair.first], self._file_N[pair.second]
            if pair.confirmed and one != other:
                for key, value in ((one, other), (other, one)):
                    linked[key][value] = max(pair.correlation, linked[key].get(value, 0.0))
        return dict(linked)

    def names(self, files: Sequence[int]) -> tuple[str, ...]:
        """Names of all files with these contents, in the listing's order."""
        return tuple(self._names[place] for place in sorted(place for file in files for place in self.places[file]))


def _stars(linked: Mapping[int, Mapping[int, float]]) -> list[tuple[int, ...]]:
    """Groups (center, its neighbors...) that cover everything that is linked, those with most neighbors first."""
    covered: set[int] = set()
    stars: list[tuple[int, ...]] = []
    for center in sorted(linked, key=lambda one: (-len(linked[one]), one)):
        if center in covered:
            continue
        left = [other for other in sorted(linked[center]) if other not in covered]
        # Where all neighbors are in other groups the nearest is named once more, so that no image goes unmentioned.
        neighbors = left or [max(linked[center], key=lambda other: linked[center][other])]
        covered.update((center, *neighbors))
        stars.append((center, *neighbors))
    return sorted(stars, key=min)


def imbalance(counts: Collection[int]) -> float:
    """How many times larger the largest class is than the smallest; 1 when all are equal."""
    assert counts, "no classes"
    assert min(counts) > 0, "a class without images"
    return max(counts) / min(counts)


def odd_images(looks: Looks) -> dict[int, str]:
    """Place -> what is odd about the size, shape or color mode of an image that few others share."""
    if not len(looks):
        return {}
    width_N, height_N = looks.sizes_N2.T
    shorter_N, longer_N = np.minimum(width_N, height_N), np.maximum(width_N, height_N)
    median = float(np.median(shorter_N))
    reasons: defaultdict[int, list[str]] = defaultdict(list)
    for odd_N, what in (
        (shorter_N * ODD_SIZE < median, "much smaller than the others"),
        (shorter_N > median * ODD_SIZE, "much larger than the others"),
    ):
        for place in _rare(odd_N):
            size = f"{width_N[place]} x {height_N[place]} pixels"
            reasons[place].append(f"{what}: {size}, the usual shorter side is {median:.0f}")
    for place in _rare(longer_N >= ODD_ASPECT * shorter_N):
        shape = f"{longer_N[place] / shorter_N[place]:.1f} to 1"
        reasons[place].append(
            f"much {'wider' if width_N[place] > height_N[place] else 'taller'} than the others: {shape}"
        )
    modes = color_modes(looks)
    for mode, usual in ((mode, max(modes, key=lambda each: modes[each])) for mode in modes):
        if modes[usual] > (1 - RARE) * len(looks) and mode != usual:
            for place in _rare(np.array([each == mode for each in looks.modes])):
                reasons[place].append(f"color mode {mode}, nearly all others are {usual}")
    return {place: "; ".join(reasons[place]) for place in sorted(reasons)}


def _rare(odd_N: npt.NDArray[np.bool_]) -> list[int]:
    """Places of the odd images, none where they are too many to be odd."""
    places = np.flatnonzero(odd_N).tolist()
    return places if len(places) <= max(1, RARE * len(odd_N)) and len(odd_N) > 2 else []


def perhaps_blank(looks: Looks) -> npt.NDArray[np.intp]:
    """Places of images whose thumbnail is nearly of one gray level; whether they are blank, `blank_color` tells."""
    if not len(looks):
        return np.array([], np.intp)
    spots_NP = looks.thumbnails_NHW.reshape(len(looks), -1)
    return np.flatnonzero(spots_NP.max(axis=1).astype(int) - spots_NP.min(axis=1) <= BLANK_RANGE)


def blank_color(rgb_HWC: npt.NDArray[np.uint8]) -> str | None:
    """The color of an image that shows nothing else, in words; None where it shows something, if only fine texture."""
    pixels_PC = rgb_HWC.reshape(-1, 3)
    if (pixels_PC.std(axis=0) > BLANK_DEVIATION).any():
        return None
    red, green, blue = (round(value) for value in pixels_PC.mean(axis=0).tolist())
    if max(red, green, blue) <= 2 * BLANK_DEVIATION:
        return "all black"
    if min(red, green, blue) >= 255 - 2 * BLANK_DEVIATION:
        return "all white"
    return f"all one color ({red}, {green}, {blue})"


def dark_images(looks: Looks) -> npt.NDArray[np.intp]:
    """Places of images that are very dark, black ones among them."""
    if not len(looks):
        return np.array([], np.intp)
    spots_NP = looks.thumbnails_NHW.reshape(len(looks), -1)
    return np.flatnonzero(np.quantile(spots_NP, DARK_QUANTILE, axis=1) < DARK)


def gray_levels(rgb_HWC: npt.NDArray[np.uint8]) -> int:
    """How many different levels the most varied channel of an image has, 1 to 256."""
    return max(int((np.bincount(rgb_HWC[..., channel].ravel(), minlength=256) > 0).sum()) for channel in range(3))


def color_modes(looks: Looks) -> dict[str, int]:
    """Images of each color mode, most frequent first."""
    return dict(sorted(Counter(looks.modes).items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Quantiles (5, 50, 95 %) of the shorter side in pixels and of width over height, how many are off square, and what
    the largest square in the middle shows of the median image."""

    shorter_side: tuple[float, float, float]
    aspect: tuple[float, float, float]
    off_square: float
    kept_by_crop: float


def image_sizes(looks: Looks) -> Sizes:
    """Sizes and shapes of the images, of which there must be some."""
    assert len(looks), "no images"
    width_N, height_N = looks.sizes_N2.T.astype(float)
    aspect_N = width_N / height_N
    return Sizes(
        shorter_side=_quantiles(np.minimum(width_N, height_N)),
        aspect=_quantiles(aspect_N),
        off_square=float(np.mean(np.maximum(aspect_N, 1 / aspect_N) >= OFF_SQUARE)),
        kept_by_crop=float(np.median(np.minimum(aspect_N, 1 / aspect_N))),
    )


def _quantiles(values_N: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values_N, [0.05, 0.5, 0.95]).tolist()
    return low, middle, high
