"""Rows of named arrays, found by the digest of the image they come from, kept in files that are never changed.

A shard is one safetensors file: some rows, their digests and what is common to all rows. Adding writes a new shard
atomically and touches no other, so two processes can share a folder, a killed one loses at most the rows it had not
flushed, and a damaged shard costs only itself.

Shapes: N rows.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.errors import StorageError

SHARD_ROWS = 1024
"""Rows are written to disk when this many have come together."""

_DIGESTS = "digests"
_COMMON = "common."

Arrays = dict[str, npt.NDArray[Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Common:
    """What all rows of a store share: the names of the stages in order, and reference arrays."""

    stages: tuple[str, ...]
    reference: Arrays


@dataclass
class _Shard:
    digests: list[str]
    common: Common
    arrays: Arrays | None
    path: Path | None


@dataclass
class FeatureStore:
    """The rows of one instrument. With `folder` None nothing is read from or written to disk."""

    folder: Path | None
    _shards: list[_Shard] = field(default_factory=list)
    _place: dict[str, tuple[int, int]] = field(default_factory=dict)
    _waiting: list[tuple[str, Arrays]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.folder is None or not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.safetensors")):
            shard = _open_shard(path)
            if shard is not None:
                self._adopt(shard)

    def __contains__(self, digest: str) -> bool:
        return digest in self._place

    def add(self, digest: str, row: Arrays, common: Common) -> None:
        """Add one row (each array without the leading N)."""
        self._waiting.append((digest, row))
        if len(self._waiting) >= SHARD_ROWS:
            self.flush(common)

    def flush(self, common: Common) -> None:
        """Write the rows added since the last shard."""
        if not self._waiting:
            return
        digests = [digest for digest, _ in self._waiting]
        arrays = {name: np.stack([row[name] for _, row in self._waiting]) for name in self._waiting[0][1]}
        self._waiting = []
        path = self._write(digests, arrays, common)
        self._adopt(_Shard(digests, common, None if path else arrays, path))

    def gather(self, digests: Sequence[str]) -> tuple[Arrays, Common]:
        """The rows of these digests, in this order (N, ...), and what they share."""
        assert digests, "gathering nothing"
        places = [self._place[digest] for digest in digests]
        shard_N = np.array([shard for shard, _ in places])
        row_N = np.array([row for _, row in places])
        result: Arrays = {}
        for index in np.unique(shard_N):
            wanted = shard_N == index
            for name, values in self._load(int(index)).items():
                if name not in result:
                    result[name] = np.empty((len(digests), *values.shape[1:]), dtype=values.dtype)
                result[name][wanted] = values[row_N[wanted]]
        return result, self._shards[int(shard_N[0])].common

    def _adopt(self, shard: _Shard) -> None:
        self._shards.append(shard)
        for row, digest in enumerate(shard.digests):
            self._place[digest] = (len(self._shards) - 1, row)

    def _load(self, index: int) -> Arrays:
        shard = self._shards[index]
        if shard.arrays is not None:
            return shard.arrays
        assert shard.path is not None
        with safe_open(shard.path, framework="numpy") as stream:
            names = [name for name in stream.keys() if name != _DIGESTS and not name.startswith(_COMMON)]  # noqa: SIM118
            return {name: stream.get_tensor(name) for name in names}

    def _write(self, digests: list[str], arrays: Arrays, common: Common) -> Path | None:
        if self.folder is None:
            return None
        path = self.folder / f"{secrets.token_hex(8)}.safetensors"
        tensors: dict[str, npt.NDArray[np.generic]] = {
            _DIGESTS: np.stack([np.frombuffer(bytes.fromhex(digest), dtype=np.uint8) for digest in digests]),
            **{_COMMON + name: values for name, values in common.reference.items()},
            **arrays,
        }
        content = save(tensors, metadata={"stages": json.dumps(common.stages)})
        try:
            atomic_write(path, content)
        except StorageError as problem:
            log.warning("features are kept in memory only, the next command computes them again: %s", problem.message)
            self.folder = None
            return None
        return path


def _open_shard(path: Path) -> _Shard | None:
    """Read a shard's index; a damaged file is removed, since its rows can be computed again."""
    try:
        with safe_open(path, framework="numpy") as stream:
            stages = tuple(json.loads(stream.metadata()["stages"]))
            digests = [bytes(row).hex() for row in stream.get_tensor(_DIGESTS)]
            names = [name for name in stream.keys() if name.startswith(_COMMON)]  # noqa: SIM118
            reference = {name.removeprefix(_COMMON): stream.get_tensor(name) for name in names}
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as problem:
        log.warning(
            "a damaged file of cached features is removed and its images measured again: %s (%s)", path, problem
        )
        with suppress(OSError):  # on a read-only disk it stays, and is passed over every time
            path.unlink()
        return None
    return _Shard(digests, Common(stages, reference), None, path)
