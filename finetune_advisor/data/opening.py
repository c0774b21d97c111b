"""Why a file cannot be opened."""

from __future__ import annotations

from finetune_advisor.errors import UnopenedFile


def cannot_open(error: OSError) -> UnopenedFile:
    """Why a file cannot be opened or read, in a person's words."""
    match error:
        case FileNotFoundError():
            return UnopenedFile("the file is gone")
        case PermissionError():
            return UnopenedFile("no permission to read it")
        case IsADirectoryError():
            return UnopenedFile("it is a folder")
        case _:
            return UnopenedFile(f"it cannot be read ({error.strerror or error})")
