"""Three of the kills of benchmarks/kill.py: a run that dies at any moment is resumed to the same bits."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spec = importlib.util.spec_from_file_location("kill", BENCHMARKS / "kill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kill", module)
    spec.loader.exec_module(module)
    return module


def test_a_killed_run_ends_with_the_bits_of_one_that_nobody_killed(kill: ModuleType, tmp_path: Path) -> None:
    kills = kill.kill_often(tmp_path, times=3)
    assert [each.identical for each in kills] == [True] * 3, kills
