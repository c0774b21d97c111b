"""What every result says about where it comes from."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def stamp() -> dict[str, str]:
    """The command without the places of files, the machine, the versions and the date."""
    arguments = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(arguments)}".strip(),
        "machine": (
            f"{cores} {platform.machine()} cores, Python {platform.python_version()}, torch {version('torch')}, "
            f"timm {version('timm')}, {datetime.now(UTC):%Y-%m-%d}"
        ),
    }


def publish(out: Path, name: str, found: Mapping[str, object], text: str) -> None:
    """Write a result as `name.json` and `name.md` into the folder `out`, with its origin in both."""
    out.mkdir(parents=True, exist_ok=True)
    made = stamp()
    (out / f"{name}.json").write_text(json.dumps({"made": made, **found}, indent=2) + "\n", encoding="utf-8")
    origin = f"Made by `{made['command']}` on {made['machine']}."
    (out / f"{name}.md").write_text(f"{text.strip()}\n\n{origin}\n", encoding="utf-8")
