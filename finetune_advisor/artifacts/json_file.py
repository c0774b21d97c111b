"""A JSON object in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.errors import RunError

if TYPE_CHECKING:
    from pydantic import ValidationError


def save_json(path: Path, value: object) -> None:
    """Write one JSON document, atomically; bytes of file names that are not UTF-8 become JSON's escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic_write(path, text.encode(errors="backslashreplace"))


_WORDS = {
    "json_invalid": "it is cut short or is not JSON",
    "missing": "{key}: missing",
    "extra_forbidden": "{key}: this version does not know it",
}
"""Of what pydantic finds, in a person's words."""


def first_problem(error: ValidationError) -> str:
    """Where a document is not as expected, and what was expected there."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"])) or "the whole"
    if first["type"] in _WORDS:
        return _WORDS[first["type"]].format(key=key)
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message.replace('Input should be', 'expected', 1)}"


def load_json(path: Path, otherwise: str, *, hint: str | None = None) -> dict[str, Any]:
    """The object in a JSON file; `otherwise` begins the message where there is none, `hint` says what to do then.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{otherwise}: {path.name} is missing.", hint) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise RunError(f"{otherwise}: {path.name} is damaged ({problem}).") from problem
    if not isinstance(loaded, dict):
        raise RunError(f"{otherwise}: {path.name} is not a JSON object.")
    return loaded
