"""What the sizes of images say, asked by the measurement and by the advice alike."""

from __future__ import annotations

import pytest

from finetune_advisor.records.health import ImageSizes


def sizes(*, median: float = 300.0, off_square: float = 0.0) -> ImageSizes:
    return ImageSizes(shorter_side=(1.0, median, 4000.0), aspect=(1.0, 1.0, 1.0), off_square=off_square)


@pytest.mark.parametrize(("share", "many"), [(0.0, False), (0.249, False), (0.25, True), (1.0, True)])
def test_padding_is_worth_a_thought_from_a_quarter_of_the_images(share: float, many: bool) -> None:
    assert sizes(off_square=share).many_off_square is many


@pytest.mark.parametrize(("median", "small"), [(28.0, True), (160.0, True), (160.5, False), (500.0, False)])
def test_images_are_small_up_to_a_quarter_more_than_128_pixels(median: float, small: bool) -> None:
    assert sizes(median=median).small is small
