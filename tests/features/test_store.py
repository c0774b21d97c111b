"""Rows come back as they were added, whatever happens to the files they are kept in."""

from __future__ import annotations

import errno
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.errors import StorageError
from finetune_advisor.features import store as feature_store
from finetune_advisor.features.store import Arrays, Common, FeatureStore

COMMON = Common(("stem", "body"), {"stem": np.arange(6, dtype=np.float32).reshape(2, 3)})


def digest(number: int) -> str:
    return f"{number:032x}"


def row(number: int) -> Arrays:
    return {"stage.stem": np.full((1, 4), number, np.float32), "pooled": np.array([[number, -number]], np.float32)}


def fill(store: FeatureStore, numbers: Sequence[int]) -> None:
    for number in numbers:
        store.add([digest(number)], row(number), COMMON)
    store.flush(COMMON)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def assert_holds(store: FeatureStore, numbers: Sequence[int]) -> None:
    arrays, common = store.rows([digest(number) for number in numbers]), store.common(digest(numbers[0]))
    assert arrays["pooled"].tolist() == [[number, -number] for number in numbers]
    assert arrays["stage.stem"][:, 0].tolist() == list(numbers)
    assert common.stages == COMMON.stages
    assert np.array_equal(common.reference["stem"], COMMON.reference["stem"])


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "features" if request.param == "disk" else None


def test_rows_come_back_in_the_order_asked_for_and_as_often(place: Path | None) -> None:
    store = FeatureStore(place)
    fill(store, [3, 1, 4])
    fill(store, [5, 9])
    assert digest(4) in store and digest(2) not in store
    assert_holds(store, [9, 1, 1, 5, 3])


def test_rows_outlive_the_process(tmp_path: Path) -> None:
    fill(FeatureStore(tmp_path), [1, 2])
    assert_holds(FeatureStore(tmp_path), [2, 1])


def test_rows_that_only_say_that_there_was_an_image_are_kept_too(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.add([digest(7)], {}, Common((), {}))
    store.flush(Common((), {}))
    assert digest(7) in FeatureStore(tmp_path)


def test_in_memory_nothing_touches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(FeatureStore(None), [1])
    assert not list(tmp_path.iterdir())


def test_a_killed_process_loses_only_what_was_not_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "SHARD_ROWS", 3)
    store = FeatureStore(tmp_path)
    for number in range(8):
        store.add([digest(number)], row(number), COMMON)
    del store
    survivor = FeatureStore(tmp_path)
    assert [number for number in range(8) if digest(number) in survivor] == [0, 1, 2, 3, 4, 5]
    assert_holds(survivor, [5, 0])


def test_flushing_nothing_writes_nothing(tmp_path: Path) -> None:
    FeatureStore(tmp_path / "features").flush(COMMON)
    assert not (tmp_path / "features").exists()


def test_two_stores_share_a_folder(tmp_path: Path) -> None:
    """Also when both compute the same image: either row will do."""
    one, other = FeatureStore(tmp_path), FeatureStore(tmp_path)
    fill(one, [1, 2])
    fill(other, [2, 3])
    assert_holds(one, [1, 2])
    assert_holds(other, [3, 2])
    assert_holds(FeatureStore(tmp_path), [1, 2, 3])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: b"",
        lambda content: b"junk" * 40,
        lambda content: b"\0" * 500,
        lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    ],
    ids=["cut short", "empty", "overwritten", "zeros", "one bit"],
)
def test_a_damaged_shard_costs_only_itself(damage: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(FeatureStore(tmp_path), [1, 2])
    [first] = shards(tmp_path)
    fill(FeatureStore(tmp_path), [3])
    first.write_bytes(damage(first.read_bytes()))  # type: ignore[operator]
    store = FeatureStore(tmp_path)
    assert digest(1) not in store and digest(2) not in store
    assert_holds(store, [3])
    assert str(first) in caplog.text and "measured again" in caplog.text
    assert not first.exists()


def test_a_safetensors_file_of_somebody_else_is_taken_for_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "foreign.safetensors")
    assert digest(1) not in FeatureStore(tmp_path)
    assert "foreign.safetensors" in caplog.text


def test_a_damaged_shard_that_cannot_be_removed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"junk")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert digest(1) not in FeatureStore(tmp_path)
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_a_disk_that_takes_nothing_costs_only_the_next_command(
    number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(FeatureStore(tmp_path), [1])
    store = FeatureStore(tmp_path)

    def refuse(path: Path, data: bytes) -> int:
        raise OSError(number, "refused", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with caplog.at_level(logging.WARNING):
        fill(store, [2])
        fill(store, [3])
    assert_holds(store, [3, 1, 2])
    assert len(caplog.records) == 1, "one warning, however many shards"
    assert "memory only" in caplog.text and reason in caplog.text
    assert len(shards(tmp_path)) == 1, "no half-written file is left"


def test_arrays_are_read_when_they_are_looked_at(tmp_path: Path) -> None:
    fill(FeatureStore(tmp_path), [1, 2, 3])
    rows = FeatureStore(tmp_path).rows([digest(3), digest(1), digest(2)])
    assert set(rows) == {"stage.stem", "pooled"} and len(rows) == 2 and "logits" not in rows
    with pytest.raises(KeyError):
        rows["logits"]
    assert rows.select(np.array([2, 0]))["pooled"].tolist() == [[2, -2], [3, -3]]


def test_rows_that_vanish_while_in_use_are_named(tmp_path: Path) -> None:
    fill(FeatureStore(tmp_path), [1])
    rows = FeatureStore(tmp_path).rows([digest(1)])
    [shard] = shards(tmp_path)
    shard.unlink()
    with pytest.raises(StorageError, match="vanished while they were in use") as raised:
        rows["pooled"]
    assert "again" in (raised.value.hint or "")


def test_a_store_sees_what_another_process_wrote_when_it_looks_again(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    fill(FeatureStore(tmp_path), [1, 2])
    assert digest(1) not in store
    store.refresh()
    store.refresh()
    assert_holds(store, [2, 1])


def test_a_temporary_store_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = FeatureStore.temporary()
    fill(store, [1, 2])
    rows = store.rows([digest(2)])
    del store
    assert rows["pooled"].tolist() == [[2, -2]], "the rows keep their store"
    assert len(list(tmp_path.iterdir())) == 1
    del rows
    assert not list(tmp_path.iterdir())


def test_without_a_place_for_temporary_files_rows_stay_in_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    store = FeatureStore.temporary()
    fill(store, [1])
    assert_holds(store, [1])
    assert "kept in memory" in caplog.text
