"""Processes that torchrun started meet, divide their work, and notice when one of them is gone."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import processes
from finetune_advisor.features.extract import ruler
from finetune_advisor.features.store import FeatureStore
from finetune_advisor.processes import ALONE, Share
from finetune_advisor.workflows.analyze import analyze_and_advise

REPOSITORY = Path(__file__).resolve().parent.parent
TIMEOUT = 120


def environment(rank: int = 0, *, of: int = 2, machines: int = 1, port: int = 1) -> dict[str, str]:
    """The variables that torchrun sets."""
    here = of // machines
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(of),
        "LOCAL_RANK": str(rank % here),
        "LOCAL_WORLD_SIZE": str(here),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def child_environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **variables}


def test_one_process_meets_itself_without_torch() -> None:
    script = """
import sys
from finetune_advisor import processes
assert processes.gather("mine") == ["mine"] and processes.from_main("mine") == "mine" and processes.is_main()
processes.barrier()
assert processes.shares() == (processes.ALONE,) and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], env=child_environment(), check=True, timeout=TIMEOUT)


def test_a_variable_that_something_else_set_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert processes.world_size() == 1 and processes.gather(1) == [1]


@pytest.mark.parametrize(
    ("rank", "machines", "expected"),
    [(3, 1, (Share(3, 4), ALONE)), (3, 2, (Share(3, 4), Share(1, 2), ALONE)), (3, 4, (Share(3, 4), ALONE))],
)
def test_work_is_divided_among_all_then_among_those_of_a_machine(
    rank: int, machines: int, expected: tuple[Share, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(rank, of=4, machines=machines).items():
        monkeypatch.setenv(name, value)
    assert processes.shares() == expected


def test_every_content_is_in_one_share_and_shares_are_alike() -> None:
    digests = [hashlib.blake2b(bytes([n % 256, n // 256]), digest_size=16).hexdigest() for n in range(3000)]
    taken = [[share.takes(digest) for digest in digests] for share in (Share(index, 3) for index in range(3))]
    assert [sum(column) for column in zip(*taken, strict=True)] == [1] * len(digests)
    assert all(900 < sum(row) < 1100 for row in taken)


MEETING = """
import os, sys
from finetune_advisor import processes
from finetune_advisor.errors import OtherProcessEnded
assert processes.gather(processes.rank()) == [0, 1]
assert processes.from_main({"rank": processes.rank()}) == {"rank": 0}
processes.barrier()
if processes.rank() == 1:
    os._exit(3)
try:
    processes.gather(None)
except OtherProcessEnded as error:
    print(error.message)
    os._exit(1)
"""


def test_processes_exchange_values_and_one_that_ends_does_not_leave_the_others_waiting() -> None:
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING],
            env=child_environment(**environment(rank, port=port)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=TIMEOUT) for process in started]
    assert [process.returncode for process in started] == [1, 3], ends
    assert ends[0][0].startswith("Another of the 2 processes has ended")


def measured_rows(cache: Path) -> dict[str, list[int]]:
    """Rows in each shard of each store of features."""
    stores = [
        folder for folder in (cache / "finetune-advisor" / "features").iterdir() if "undecodable" not in folder.name
    ]
    return {folder.name: [len(shard.digests) for shard in FeatureStore(folder)._shards] for folder in stores}


def comparable(profile: dict[str, Any]) -> dict[str, Any]:
    """A profile without times, and of the views only which were tried: on noise, rounding tips single answers."""
    views = [effect["view"] for effect in profile["views"]]
    return {name: value for name, value in profile.items() if name not in ("seconds", "speed")} | {"views": views}


def assert_close(found: Any, expected: Any) -> None:
    """Equal but for the rounding of sums in batches of another size."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_close(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    else:
        assert found == (pytest.approx(expected, rel=1e-2, abs=1e-3) if isinstance(expected, float) else expected)


def test_under_torchrun_the_images_are_shared_and_one_process_speaks(
    image_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = image_folder({"ants": 18, "bees": 18})  # enough to be shown another way too, by one process
    (images / "ants" / "broken.png").write_text("no pixels here")
    here, cache = tmp_path / "here", tmp_path / "shared cache"
    here.mkdir()
    started = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "finetune_advisor", "analyze", str(images), "--json"),
        ],
        cwd=here,
        env=child_environment(XDG_CACHE_HOME=str(cache)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    profile = json.loads(started.stdout)
    assert started.stderr.count("left out: ants/broken.png") == 1
    assert sorted(path.name for path in here.iterdir()) == ["analysis", "recipe.yaml"]
    shared = [rows for store, rows in measured_rows(cache).items() if store == ruler().key or store.startswith("looks")]
    assert len(shared) == 2
    for rows in shared:
        assert len(rows) == 2 and sum(rows) == 36, "each process measured a part, and nothing twice"
    assert profile["views"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own cache"))
    alone = json.loads(analyze_and_advise(str(images)).profile.model_dump_json())
    assert_close(comparable(profile), comparable(alone))
