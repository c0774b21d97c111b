"""How much memory and time `analyze` takes, all its processes together.

    python benchmarks/memory.py cifar10.tar.gz --limit 60000 --out benchmarks/results

Runs the command in a fresh process with an empty cache of its own (removed at the end), and with `--again` a second
time on the unchanged data. Meanwhile the memory of the process and of those it started is sampled from /proc (Linux
only): the resident pages of each (RSS), whose sum counts pages that are shared by several of them several times, and
the proportional set size (PSS), whose sum counts them once. Of these the anonymous pages are what the processes keep
for themselves; the others are of files (libraries, the cache), which the system drops when it needs the room.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from machine import publish

BOUND_GB = 2.0
"""Of all processes together, for 60,000 files."""

INTERVAL_S = 0.2
PSS_EVERY = 5
"""Samples: adding up the proportional set size takes the kernel some milliseconds."""

PAGE = os.sysconf("SC_PAGESIZE")


@dataclass
class Peak:
    """What one run took."""

    run: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rss_gb: float = 0.0
    """All processes together."""
    rss_at_s: float = 0.0
    """When that was."""
    pss_gb: float = 0.0
    anonymous_gb: float = 0.0
    """Of all processes, pages that belong to no file."""
    main_rss_gb: float = 0.0
    workers_rss_gb: float = 0.0
    """All processes but the main one."""
    processes: int = 0


def members(session: int) -> list[int]:
    """The processes of a session that live now."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
    return found


def rss_gb(process: int) -> float:
    with suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE / 1e9
    return 0.0


def mapped_gb(process: int) -> tuple[float, float]:
    """Proportional set size, and anonymous pages in it."""
    with suppress(OSError):
        rows = [line.split() for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]]
        found = {row[0]: int(row[1]) * 1024 / 1e9 for row in rows}
        return found["Pss:"], found["Pss_Anon:"]
    return 0.0, 0.0


def watched(name: str, command: Sequence[str], environment: dict[str, str]) -> Peak:
    """Run a command to its end and say what it took."""
    start = time.perf_counter()
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    peak, sample, status = Peak(name), 0, 0
    while not status:
        time.sleep(INTERVAL_S)
        each = {process: rss_gb(process) for process in members(child.pid)}
        main, total = each.get(child.pid, 0.0), sum(each.values())
        if total > peak.rss_gb:
            peak.rss_gb, peak.rss_at_s = total, time.perf_counter() - start
        peak.main_rss_gb = max(peak.main_rss_gb, main)
        peak.workers_rss_gb = max(peak.workers_rss_gb, total - main)
        peak.processes = max(peak.processes, len(each))
        if sample % PSS_EVERY == 0:
            pss, anonymous = (sum(values) for values in zip(*map(mapped_gb, each), strict=True)) if each else (0.0, 0.0)
            peak.pss_gb, peak.anonymous_gb = max(peak.pss_gb, pss), max(peak.anonymous_gb, anonymous)
        sample += 1
        status, code, used = os.wait4(child.pid, os.WNOHANG)
    peak.seconds = time.perf_counter() - start
    peak.cpu_seconds = used.ru_utime + used.ru_stime
    child.returncode = os.waitstatus_to_exitcode(code)
    if child.returncode:
        raise SystemExit(f"{name}: {' '.join(command)} ended with {child.returncode}")
    return peak


def page(data: str, limit: int | None, peaks: Sequence[Peak]) -> str:
    lines = [
        f"# Memory and time of `analyze {data}{'' if limit is None else f' --limit {limit}'}`",
        "",
        "| run | seconds | CPU seconds | peak RSS, all | main | workers | peak PSS, all | of no file | processes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {peak.run} | {peak.seconds:.1f} | {peak.cpu_seconds:.1f} | {peak.rss_gb:.2f} GB (at {peak.rss_at_s:.0f} s) "
        f"| {peak.main_rss_gb:.2f} GB | {peak.workers_rss_gb:.2f} GB | {peak.pss_gb:.2f} GB "
        f"| {peak.anonymous_gb:.2f} GB | {peak.processes} |"
        for peak in peaks
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--limit", type=int, help="passed on to analyze")
    parser.add_argument("--again", action="store_true", help="a second time, with nothing changed")
    parser.add_argument("--out", type=Path, help="folder for memory-DATA-LIMIT.json and .md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        limit = [] if options.limit is None else ["--limit", str(options.limit)]
        command = [sys.executable, "-m", "finetune_advisor", "analyze", str(options.data), *limit, "--quiet"]
        command += ["--out", str(Path(folder) / "recipe.yaml")]
        environment = {**os.environ, "XDG_CACHE_HOME": str(Path(folder) / "cache")}
        peaks = [watched("first", command, environment)]
        if options.again:
            peaks.append(watched("again", command, environment))
    text = page(options.data.name, options.limit, peaks)
    print(text)
    if options.out:
        name = f"memory-{options.data.name.partition('.')[0]}-{options.limit or 'default'}"
        found = {"bound_gb": BOUND_GB, "runs": [asdict(peak) for peak in peaks]}
        publish(options.out, name, found, text)


if __name__ == "__main__":
    main()
