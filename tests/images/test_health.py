from dataclasses import replace

import numpy as np
import pytest

from finetune_advisor.images.duplicates import Pair
from finetune_advisor.images.health import (
    blank_color,
    color_modes,
    copies_across,
    dark_images,
    exact_duplicates,
    gray_levels,
    image_sizes,
    imbalance,
    near_duplicate_groups,
    odd_images,
    perhaps_blank,
)
from finetune_advisor.images.thumbnails import COLOR_THUMBNAIL, THUMBNAIL, Looks


def looks_of(sizes: list[tuple[int, int]], modes: list[str] | None = None) -> Looks:
    thumb_NHW = np.zeros((len(sizes), THUMBNAIL, THUMBNAIL), np.uint8)
    colors_NHWC = np.zeros((len(sizes), COLOR_THUMBNAIL, COLOR_THUMBNAIL, 3), np.uint8)
    return Looks(thumb_NHW, np.array(sizes, np.int64).reshape(-1, 2), tuple(modes or ["RGB"] * len(sizes)), colors_NHWC)


def test_copies_are_grouped_and_unreadable_files_are_nobodys_copy() -> None:
    assert exact_duplicates(["a", "b", "c", "d", "e"], ["1", None, "2", None, "1"]) == (("a", "e"),)


def sure(first: int, second: int, correlation: float = 0.97) -> Pair:
    return Pair(first, second, correlation, confirmed=True)


def test_copies_across_splits_are_identical_or_confirmed() -> None:
    names, digests = list("abcdefgh"), ["1", "1", "2", "3", "4", "5", "6", "7"]
    pairs = [sure(2, 3), Pair(4, 5, 0.95, confirmed=False), sure(6, 7)]
    side_of = dict.fromkeys(names, "train") | {"b": "test", "d": "test", "f": "test"}
    assert copies_across(names, digests, pairs, side_of) == (("a", "b"), ("c", "d"))


def test_a_group_of_near_duplicates_is_no_chain() -> None:
    names, digests = list("abcdef"), list("123456")
    chain = [sure(place, place + 1, 0.9 + place / 100) for place in range(5)]
    groups = near_duplicate_groups(names, digests, chain)
    assert [group.names for group in groups] == [("a", "b", "c"), ("d", "e"), ("e", "f")]
    assert groups[1].correlation == 0.93
    known = {frozenset((names[pair.first], names[pair.second])) for pair in chain}
    for group in groups:
        assert any(all({center, other} in known for other in group.names if other != center) for center in group.names)


def test_a_chain_that_leads_from_training_to_test_over_other_pictures_is_no_leak() -> None:
    names, digests = list("abcd"), list("1234")
    side_of = {"a": "train", "b": "train", "c": "train", "d": "test"}
    chain = [sure(0, 1), sure(1, 2), sure(2, 3)]
    assert copies_across(names, digests, chain, side_of) == (("c", "d"),)


def test_every_image_with_a_copy_in_another_split_is_named_though_the_copy_is_in_a_group_already() -> None:
    names, digests = list("abcdefg"), list("1234567")
    side_of = dict.fromkeys("abcdef", "train") | {"d": "test", "g": "test"}
    groups = copies_across(names, digests, [sure(0, 3), sure(1, 3), sure(2, 3), sure(2, 6)], side_of)
    assert groups == (("a", "b", "c", "d"), ("c", "g"))


def test_plausible_pairs_make_no_group_and_identical_files_count_as_one_image() -> None:
    pairs = [sure(0, 1, 0.99), sure(1, 3, 0.93), sure(4, 5, 1.0), Pair(5, 6, 0.99, confirmed=False)]
    (group,) = near_duplicate_groups(list("abcdefg"), ["1", "2", "2", "3", "4", "4", "5"], pairs)
    assert group.names == ("a", "b", "c", "d"), "c is a byte-identical copy of b; e and f are no more than that"
    assert group.correlation == 0.93


def test_imbalance_is_largest_over_smallest() -> None:
    assert imbalance([10, 40, 20]) == 4


def test_odd_sizes_and_shapes_are_named_with_their_numbers() -> None:
    odd = odd_images(looks_of([(400, 300)] * 60 + [(64, 48), (4000, 3000), (1600, 310), (310, 1600)]))
    assert sorted(odd) == [60, 61, 62, 63]
    assert odd[60] == "much smaller than the others: 64 x 48 pixels, the usual shorter side is 300"
    assert odd[61] == "much larger than the others: 4000 x 3000 pixels, the usual shorter side is 300"
    assert odd[62] == "much wider than the others: 5.2 to 1"
    assert odd[63] == "much taller than the others: 5.2 to 1"


def test_what_many_images_have_in_common_is_not_odd() -> None:
    sizes = [(400, 300)] * 60 + [(64, 48)] * 10
    assert odd_images(looks_of(sizes, ["RGB"] * 50 + ["L"] * 20)) == {}
    assert odd_images(looks_of([(1600, 400)] * 50)) == {}
    assert odd_images(looks_of([])) == {}


def test_a_rare_color_mode_is_odd() -> None:
    odd = odd_images(looks_of([(40, 40)] * 50, ["RGB"] * 48 + ["CMYK", "L"]))
    assert odd == {
        48: "color mode CMYK, nearly all others are RGB",
        49: "color mode L, nearly all others are RGB",
    }
    assert len(odd_images(looks_of([(40, 40)] * 50, ["RGB"] * 49 + ["CMYK"]))) == 1


def test_color_modes_are_counted() -> None:
    assert color_modes(looks_of([(9, 9)] * 4, ["L", "RGB", "RGB", "CMYK"])) == {"RGB": 2, "CMYK": 1, "L": 1}


def test_sizes_are_quantiles() -> None:
    sizes = image_sizes(looks_of([(width, 100) for width in range(80, 181)]))
    assert sizes.shorter_side == (85, 100, 100)
    assert sizes.aspect == pytest.approx((0.85, 1.3, 1.75))
    assert sizes.off_square == pytest.approx((56 + 1) / 101, abs=0.01), "80 x 100 is 1.25 to 1 too"


def test_what_a_crop_shows_is_that_of_the_median_image_wide_or_tall() -> None:
    assert image_sizes(looks_of([(3000, 100), (100, 3000), (100, 100)])).kept_by_crop == pytest.approx(1 / 30)
    assert image_sizes(looks_of([(200, 100), (100, 100), (100, 100)])).kept_by_crop == 1


def toned(*thumbnails: np.ndarray) -> Looks:
    thumb_NHW = np.stack([np.broadcast_to(each, (THUMBNAIL, THUMBNAIL)).astype(np.uint8) for each in thumbnails])
    return replace(looks_of([(64, 64)] * len(thumb_NHW)), thumbnails_NHW=thumb_NHW)


def test_blank_images_are_told_from_dim_ones_and_fine_texture() -> None:
    shade = np.linspace(0, 40, THUMBNAIL)
    assert perhaps_blank(toned(np.array(0), np.array(255), shade, 128 + shade / 20)).tolist() == [0, 1, 3]
    flat_HWC = np.zeros((64, 64, 3), np.uint8)
    noise_HWC = np.random.default_rng(0).integers(0, 6, (64, 64, 3)).astype(np.uint8)
    assert blank_color(flat_HWC) == blank_color(noise_HWC) == "all black"
    assert blank_color(flat_HWC + 250) == "all white"
    assert blank_color(flat_HWC + np.array([200, 10, 0], np.uint8)) == "all one color (200, 10, 0)"
    checkers_HWC = np.indices((64, 64)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 40 + 100
    assert blank_color(checkers_HWC.astype(np.uint8)) is None, "its thumbnail is one gray level"


def test_an_image_is_dark_when_hardly_a_spot_is_bright() -> None:
    dim = np.linspace(0, 45, THUMBNAIL)
    strokes, dot = np.zeros((2, THUMBNAIL, THUMBNAIL))
    strokes[10:30, 20:24] = 255
    dot[:] = dim
    dot[5, 5] = 255
    assert dark_images(toned(dim, strokes, dot, np.array(0), 2 * dim)).tolist() == [0, 2, 3], (
        "a digit on black is bright"
    )
    assert dark_images(looks_of([])).tolist() == perhaps_blank(looks_of([])).tolist() == []


def test_gray_levels_are_those_of_the_most_varied_channel() -> None:
    ramp_HWC = np.zeros((4, 256, 3), np.uint8)
    ramp_HWC[..., 1] = np.arange(256) // 16
    assert gray_levels(ramp_HWC) == 16
    assert gray_levels(np.zeros((4, 4, 3), np.uint8)) == 1
