"""Decoded images on the disk come back as they were, or are found to be damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.errors import StorageError
from finetune_advisor.loading.augmented import Pixels, keep, open_kept


@pytest.fixture
def images() -> list[Pixels]:
    rng = np.random.default_rng(0)
    shapes = ((4, 7), (9, 2), (1, 1))
    return [rng.integers(256, size=(height, width, 3), dtype=np.uint8) for height, width in shapes]


def test_images_of_different_sizes_come_back(images: list[Pixels], tmp_path: Path) -> None:
    keep(tmp_path / "a.pixels", images, most_mib=1)
    kept = open_kept(tmp_path / "a.pixels")
    assert kept is not None and len(kept) == 3
    for place in (2, 0, 1):
        pixels = kept.read(place)
        assert np.array_equal(pixels, images[place])
        assert pixels.flags.writeable


def test_what_does_not_fit_is_left_out(images: list[Pixels], tmp_path: Path) -> None:
    kept = keep(tmp_path / "a.pixels", images, most_mib=(images[0].size + images[1].size) / 2**20)
    assert len(kept) == 2
    assert kept.mib * 2**20 == images[0].size + images[1].size
    none = keep(tmp_path / "b.pixels", images, most_mib=1e-6)
    assert len(none) == 0


@pytest.mark.parametrize("damage", ["a.pixels", "a.shapes.npy"])
def test_a_damaged_file_is_noticed(
    damage: str, images: list[Pixels], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_kept(tmp_path / "a.pixels") is None and not caplog.records, "nothing there is no damage"
    keep(tmp_path / "a.pixels", images, most_mib=1)
    whole = (tmp_path / damage).read_bytes()
    (tmp_path / damage).write_bytes(whole[: len(whole) // 2])
    assert open_kept(tmp_path / "a.pixels") is None
    assert "written again" in caplog.text


def test_a_disk_that_refuses_leaves_nothing(images: list[Pixels], tmp_path: Path) -> None:
    def failing() -> object:
        yield images[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError):
        keep(tmp_path / "a.pixels", failing(), most_mib=1)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
