"""Rows go where they belong, or no file is left."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from finetune_advisor.errors import StorageError
from finetune_advisor.training.frozen_cache import TooLargeForHalf, open_rows, write_rows

ROWS = np.random.default_rng(0).normal(size=(2, 7, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_parts_become_the_array_they_are_parts_of(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "caches" / "rows.npy"
    assert open_rows(path, ROWS.shape) is None
    write_rows(path, (ROWS[:, start : start + 3] for start in range(0, 7, 3)), ROWS.shape, dtype)
    found = open_rows(path, ROWS.shape)
    assert isinstance(found, np.memmap) and np.array_equal(found, ROWS.astype(dtype))


def test_damage_is_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.npy"
    write_rows(path, [ROWS], ROWS.shape, "float32")
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"other" + whole[5:]):
        path.write_bytes(content)
        assert open_rows(path, ROWS.shape) is None
    path.write_bytes(whole)
    assert open_rows(path, (1, *ROWS.shape[1:])) is None
    assert caplog.text.count("computed again") == 5


def test_what_half_precision_cannot_hold_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TooLargeForHalf):
        write_rows(tmp_path / "rows.npy", [ROWS * 1e6], ROWS.shape, "float16")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def computed() -> Iterator[npt.NDArray[np.float32]]:
        raise AssertionError("too late")
        yield

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        write_rows(tmp_path / "rows.npy", computed(), ROWS.shape, "float32")
    assert list(tmp_path.iterdir()) == []
