"""The file of regret.py: a JSON line for each run, shared by the processes that make them."""

from __future__ import annotations

import json
from pathlib import Path

from regret_recipes import Line


def read_lines(path: Path) -> list[Line]:
    """All runs in the file; a line that a killed process left torn is skipped."""
    if not path.is_file():
        return []
    return [line for line in map(_parsed, path.read_text(encoding="utf-8").splitlines()) if line is not None]


def append_line(path: Path, line: Line) -> None:
    """In one write, so that several processes can share the file, and not onto the end of a torn line."""
    start = "\n" if _is_torn(path) else ""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{start}{json.dumps(line)}\n")


def _is_torn(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")


def _parsed(text: str) -> Line | None:
    try:
        found: Line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found
