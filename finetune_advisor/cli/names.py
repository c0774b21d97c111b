"""Names of files and classes on their way to stdout, where not every one is UTF-8."""

from __future__ import annotations

import io
import sys

AS_BYTES = "surrogateescape"
"""How `open` takes such a name for a table: its bytes come out as they are on the disk."""

AS_ESCAPES = "backslashreplace"
"""How it takes one for JSON, which has to stay valid: bytes become JSON's escapes, as in a run's own files."""


def accept_any_name(*, as_json: bool) -> None:
    """Let stdout take names that are not UTF-8; JSON is UTF-8 whatever the terminal is set to."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    if as_json:
        sys.stdout.reconfigure(encoding="utf-8", errors=AS_ESCAPES)
    else:
        sys.stdout.reconfigure(errors=AS_BYTES)
