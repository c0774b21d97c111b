"""A file is the old one or the new one, whatever goes wrong in between."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from finetune_advisor.errors import StorageError
from finetune_advisor.storage.files import atomic_path, atomic_write, cache_root, cached_files, require_writable


def test_cache_follows_xdg_cache_home_on_every_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "finetune-advisor"


def test_relative_xdg_cache_home_is_ignored_as_its_specification_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert cache_root().is_absolute()
    assert "somewhere" not in cache_root().parts


def test_writes_text_and_bytes_and_creates_the_folder(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "b" / "text.txt", "naïve\n")
    atomic_write(tmp_path / "bytes.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text.txt").read_bytes() == "naïve\n".encode()
    assert (tmp_path / "bytes.bin").read_bytes() == b"\x00\xff"


def test_temporary_name_is_a_neighbor_with_the_same_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "curve.png") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")
        assert not (tmp_path / "curve.png").exists()
        temporary.write_bytes(b"png")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_a_failing_block_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "recipe.yaml"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_leaves_the_old_file_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "last.safetensors"
    target.write_bytes(b"old")

    def disk_full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(StorageError, match=r"last\.safetensors: the disk is full") as caught:
        atomic_write(target, b"new")
    assert caught.value.hint is not None and "Free some space" in caught.value.hint
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(StorageError, match="expected a folder"):
        atomic_write(tmp_path / "runs" / "x.json", "{}")


def test_an_unrelated_failure_is_not_dressed_up(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        (tmp_path / "missing").read_bytes()


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    atomic_write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_place_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("old")
    for place in ("new.yaml", "old.yaml", "deep/er/new.yaml"):
        require_writable(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["old.yaml"]
    assert (tmp_path / "old.yaml").read_text() == "old"


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(StorageError, match=r"cannot write .*x\.json: a part of the path is a file"):
        require_writable(tmp_path / "runs" / "deep" / "x.json")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_a_folder_where_nobody_can_write_is_named() -> None:
    with pytest.raises(StorageError, match=r"cannot write /proc/recipe\.yaml") as caught:
        require_writable("/proc/recipe.yaml")
    assert caught.value.hint


@pytest.mark.parametrize(("number", "reason"), [(errno.EACCES, "permission denied"), (errno.EROFS, "read-only")])
def test_a_disk_that_refuses_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def refused(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(StorageError, match=reason):
        require_writable(tmp_path / "recipe.yaml")


def test_a_cache_that_cannot_be_read_is_an_empty_one_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cached_files(tmp_path / "none") == []
    assert not caplog.records
    (tmp_path / "b.bin").touch()
    (tmp_path / "a.bin").touch()
    (tmp_path / "a.txt").touch()
    assert [path.name for path in cached_files(tmp_path, suffix=".bin")] == ["a.bin", "b.bin"]
    assert cached_files(tmp_path / "a.txt") == [], "here a file stands for whatever cannot be listed"
    assert "computed again" in caplog.text
