import numpy as np
import pytest

from finetune_advisor.data.health import (
    all_copies,
    blank_color,
    color_modes,
    crossing,
    dark_images,
    exact_duplicates,
    gray_levels,
    image_sizes,
    imbalance,
    near_duplicate_groups,
    odd_images,
    perhaps_blank,
)
from finetune_advisor.data.looks import THUMBNAIL, Looks
from finetune_advisor.data.near_duplicates import Pair


def looks_of(sizes: list[tuple[int, int]], modes: list[str] | None = None) -> Looks:
    thumb_NHW = np.zeros((len(sizes), THUMBNAIL, THUMBNAIL), np.uint8)
    return Looks(thumb_NHW, np.array(sizes, np.int64).reshape(-1, 2), tuple(modes or ["RGB"] * len(sizes)))


def test_copies_are_grouped_and_unreadable_files_are_nobodys_copy():
    assert exact_duplicates(["a", "b", "c", "d", "e"], ["1", None, "2", None, "1"]) == (("a", "e"),)


def test_copies_across_splits_and_classes():
    duplicates = (("a", "b"), ("c", "d"), ("e", "f"))
    split_of = dict.fromkeys("abcdef", "train") | {"b": "test"}
    label_of = dict.fromkeys("abcdef", 0) | {"d": 1}
    found = crossing(duplicates, split_of, label_of)
    assert found.splits == (("a", "b"),)
    assert found.classes == (("c", "d"),)


def test_near_duplicates_hang_together_and_say_how_weakly():
    pairs = [Pair(0, 1, 0.99), Pair(1, 3, 0.93), Pair(4, 5, 1.0)]
    digests = ["1", "2", "2", "3", "4", "4", "5"]
    (group,) = near_duplicate_groups(list("abcdefg"), digests, pairs)
    assert group.names == ("a", "b", "c", "d"), "c is a byte-identical copy of b; e and f are no more than that"
    assert group.correlation == 0.93
    assert all_copies(list("abcdefg"), digests, pairs) == (("a", "b", "c", "d"), ("e", "f"))


def test_imbalance_is_largest_over_smallest():
    assert imbalance([10, 40, 20]) == 4


def test_odd_sizes_and_shapes_are_named_with_their_numbers():
    odd = odd_images(looks_of([(400, 300)] * 60 + [(64, 48), (4000, 3000), (1600, 310), (310, 1600)]))
    assert sorted(odd) == [60, 61, 62, 63]
    assert odd[60] == "much smaller than the others: 64 x 48 pixels, the usual shorter side is 300"
    assert odd[61] == "much larger than the others: 4000 x 3000 pixels, the usual shorter side is 300"
    assert odd[62] == "much wider than the others: 5.2 to 1"
    assert odd[63] == "much taller than the others: 5.2 to 1"


def test_what_many_images_have_in_common_is_not_odd():
    sizes = [(400, 300)] * 60 + [(64, 48)] * 10
    assert odd_images(looks_of(sizes, ["RGB"] * 50 + ["L"] * 20)) == {}
    assert odd_images(looks_of([(1600, 400)] * 50)) == {}
    assert odd_images(looks_of([])) == {}


def test_a_rare_color_mode_is_odd():
    odd = odd_images(looks_of([(40, 40)] * 50, ["RGB"] * 48 + ["CMYK", "L"]))
    assert odd == {
        48: "color mode CMYK, nearly all others are RGB",
        49: "color mode L, nearly all others are RGB",
    }
    assert len(odd_images(looks_of([(40, 40)] * 50, ["RGB"] * 49 + ["CMYK"]))) == 1


def test_color_modes_are_counted():
    assert color_modes(looks_of([(9, 9)] * 4, ["L", "RGB", "RGB", "CMYK"])) == {"RGB": 2, "CMYK": 1, "L": 1}


def test_sizes_are_quantiles():
    sizes = image_sizes(looks_of([(width, 100) for width in range(80, 181)]))
    assert sizes.shorter_side == (85, 100, 100)
    assert sizes.aspect == pytest.approx((0.85, 1.3, 1.75))
    assert sizes.off_square == pytest.approx((56 + 1) / 101, abs=0.01), "80 x 100 is 1.25 to 1 too"


def test_what_a_crop_shows_is_that_of_the_median_image_wide_or_tall():
    assert image_sizes(looks_of([(3000, 100), (100, 3000), (100, 100)])).kept_by_crop == pytest.approx(1 / 30)
    assert image_sizes(looks_of([(200, 100), (100, 100), (100, 100)])).kept_by_crop == 1


def toned(*thumbnails: np.ndarray) -> Looks:
    thumb_NHW = np.stack([np.broadcast_to(each, (THUMBNAIL, THUMBNAIL)).astype(np.uint8) for each in thumbnails])
    return Looks(thumb_NHW, np.full((len(thumb_NHW), 2), 64), ("RGB",) * len(thumb_NHW))


def test_blank_images_are_told_from_dim_ones_and_fine_texture():
    shade = np.linspace(0, 40, THUMBNAIL)
    assert perhaps_blank(toned(np.array(0), np.array(255), shade, 128 + shade / 20)).tolist() == [0, 1, 3]
    flat_HWC = np.zeros((64, 64, 3), np.uint8)
    noise_HWC = np.random.default_rng(0).integers(0, 6, (64, 64, 3)).astype(np.uint8)
    assert blank_color(flat_HWC) == blank_color(noise_HWC) == "all black"
    assert blank_color(flat_HWC + 250) == "all white"
    assert blank_color(flat_HWC + np.array([200, 10, 0], np.uint8)) == "all one color (200, 10, 0)"
    checkers_HWC = np.indices((64, 64)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 40 + 100
    assert blank_color(checkers_HWC.astype(np.uint8)) is None, "its thumbnail is one gray level"


def test_an_image_is_dark_when_hardly_a_spot_is_bright():
    dim = np.linspace(0, 45, THUMBNAIL)
    strokes, dot = np.zeros((2, THUMBNAIL, THUMBNAIL))
    strokes[10:30, 20:24] = 255
    dot[:] = dim
    dot[5, 5] = 255
    assert dark_images(toned(dim, strokes, dot, np.array(0), 2 * dim)).tolist() == [0, 2, 3], (
        "a digit on black is bright"
    )
    assert dark_images(looks_of([])).tolist() == perhaps_blank(looks_of([])).tolist() == []


def test_gray_levels_are_those_of_the_most_varied_channel():
    ramp_HWC = np.zeros((4, 256, 3), np.uint8)
    ramp_HWC[..., 1] = np.arange(256) // 16
    assert gray_levels(ramp_HWC) == 16
    assert gray_levels(np.zeros((4, 4, 3), np.uint8)) == 1
