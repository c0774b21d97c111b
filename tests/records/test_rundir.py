"""Run folders: numbers that nobody shares, and which one is gone on with."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune_advisor.errors import RunError, StorageError
from finetune_advisor.records.rundir import NumberedRun, RunDir, latest_run

Begin = Callable[..., RunDir]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """`begin("a", written=1.0, finished=True)`: a run whose log was written to at that time."""

    def make(name: str, *, written: float, finished: bool = False) -> RunDir:
        run = RunDir(tmp_path / "runs" / name)
        run.path.mkdir(parents=True)
        for file in (run.recipe, run.log, *([run.metrics] if finished else [])):
            file.write_text("{}")
        os.utime(run.log, (written, written))
        return run

    return make


def test_runs_that_begin_at_once_get_different_folders(tmp_path: Path) -> None:
    place = NumberedRun(tmp_path / "runs", "data")

    def claim(_: int) -> str:
        with place.claimed() as run:
            run.recipe.write_text("begun")
            return run.path.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(claim, range(16)))
    assert sorted(names) == sorted(f"data-{number}" for number in range(1, 17))


def test_a_number_is_taken_when_the_run_begins_not_before(tmp_path: Path) -> None:
    place = NumberedRun(tmp_path / "runs", "data")
    place.require_free()
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs" / "data-1").mkdir(parents=True)
    with place.claimed() as run:
        assert run.path.name == "data-2"


def test_a_place_where_no_run_can_be_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    for place in (NumberedRun(tmp_path / "runs", "data"), RunDir(tmp_path / "runs" / "a")):
        with pytest.raises(StorageError, match="expected a folder"):
            place.require_free()


def test_a_folder_in_use_is_not_free(begin: Begin) -> None:
    run = begin("a", written=1.0)
    with pytest.raises(RunError, match="already holds a run"):
        run.require_free()
    with run.locked(), pytest.raises(RunError, match="another process is writing this run"):
        run.require_free()
    with pytest.raises(RunError, match="already holds a run"), run.claimed():
        pass


def test_an_empty_folder_with_what_is_left_of_a_lock_is_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("4711")
    run = RunDir(tmp_path)
    run.require_free()
    with run.claimed():
        pass


def test_an_unfinished_run_is_gone_on_with_before_a_later_finished_one(begin: Begin, tmp_path: Path) -> None:
    begin("old", written=1.0)
    wanted = begin("stopped", written=2.0)
    begin("done", written=3.0, finished=True)
    assert latest_run(tmp_path / "runs") == wanted


def test_where_all_are_finished_the_latest_is_meant(begin: Begin, tmp_path: Path) -> None:
    wanted = begin("new", written=2.0, finished=True)
    begin("old", written=1.0, finished=True)
    (tmp_path / "runs" / "other").mkdir()
    assert latest_run(tmp_path / "runs") == wanted


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RunError, match="There is no run"):
        latest_run(tmp_path)
    with pytest.raises(RunError, match="holds no run to go on with"):
        RunDir(tmp_path / "a").require_begun()
