"""What every result says about where it comes from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=True).stdout


def _commit() -> str:
    """The commit whose code runs, and whether files of the package or of the benchmark differ from it.

    Where code travels without its history, `BENCHMARK_COMMIT` has to say it.
    """
    if told := os.environ.get("BENCHMARK_COMMIT"):
        return told
    changed = _git("status", "--porcelain", "--", ":/finetune_advisor", ":/benchmarks/*.py").strip()
    return _git("rev-parse", "--short", "HEAD").strip() + (" with changes" if changed else "")


COMMIT = _commit()
"""Read when a script starts: the work tree may move on while it runs."""


def stamp() -> dict[str, str]:
    """The command without the places of files, the machine, the versions, the commit and the date."""
    arguments = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(arguments)}".strip(),
        "machine": (
            f"{cores} {platform.machine()} cores, Python {platform.python_version()}, torch {version('torch')}, "
            f"timm {version('timm')}, commit {COMMIT}, {datetime.now(UTC):%Y-%m-%d}"
        ),
    }


def publish(out: Path, name: str, found: Mapping[str, object], text: str) -> None:
    """Write a result as `name.json` and `name.md` into the folder `out`, with its origin in both."""
    out.mkdir(parents=True, exist_ok=True)
    made = stamp()
    (out / f"{name}.json").write_text(json.dumps({"made": made, **found}, indent=2) + "\n", encoding="utf-8")
    origin = f"Made by `{made['command']}` on {made['machine']}."
    (out / f"{name}.md").write_text(f"{text.strip()}\n\n{origin}\n", encoding="utf-8")
