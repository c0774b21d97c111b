"""run.log: what this package logs while a run is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_advisor.artifacts.storage import storage_errors


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Everything this package logs inside the block is also appended to `path`.

    Raises:
        StorageError: the file cannot be written.
    """
    with storage_errors(path):
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("finetune_advisor")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
