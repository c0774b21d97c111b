"""Rows of named arrays, found by the digest of the image they come from, kept in files that are never changed.

A shard is one safetensors file: some rows, their digests and what is common to all rows. Adding writes a new shard
atomically and touches no other, so two processes can share a folder, a killed one loses at most the rows it had not
flushed, and a damaged shard, recognized by its checksum, costs only itself. Rows are read from the disk an array at a
time, when somebody asks: memory does not grow with what is stored.

Shapes: N rows.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from finetune_advisor.errors import StorageError
from finetune_advisor.storage.files import atomic_write, cached_files

SHARD_ROWS = 1024
"""Rows are written to disk when this many have come together."""

_DIGESTS = "digests"
_COMMON = "common."

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

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
    names: tuple[str, ...]
    arrays: Arrays | None
    path: Path | None


@dataclass(eq=False)
class FeatureStore:
    """The rows of one instrument. With `folder` None nothing is read from or written to disk."""

    folder: Path | None
    _shards: list[_Shard] = field(default_factory=list)
    _place: dict[str, tuple[int, int]] = field(default_factory=dict)
    _waiting: list[tuple[Sequence[str], Arrays]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refresh()

    @staticmethod
    def temporary() -> FeatureStore:
        """A store of its own on the disk, which is removed with the last reader, so that memory stays flat."""
        try:
            folder = tempfile.mkdtemp(prefix="finetune-advisor-")
        except OSError as problem:
            log.warning("features are kept in memory: no temporary folder can be made (%s)", problem)
            return FeatureStore(None)
        store = FeatureStore(Path(folder))
        weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
        return store

    def refresh(self) -> None:
        """Find what other processes have written since the folder was looked at."""
        if self.folder is None:
            return
        known = {shard.path for shard in self._shards}
        for path in cached_files(self.folder, suffix=".safetensors"):
            shard = None if path in known else _open_shard(path)
            if shard is not None:
                self._adopt(shard)

    def __contains__(self, digest: str) -> bool:
        return digest in self._place

    def add(self, digests: Sequence[str], arrays: Arrays, common: Common) -> None:
        """Add rows, N in each array."""
        self._waiting.append((digests, arrays))
        if sum(len(some) for some, _ in self._waiting) >= SHARD_ROWS:
            self.flush(common)

    def flush(self, common: Common) -> None:
        """Write the rows added since the last shard."""
        if not self._waiting:
            return
        digests = [digest for some, _ in self._waiting for digest in some]
        names = tuple(self._waiting[0][1])
        arrays = {name: np.concatenate([rows[name] for _, rows in self._waiting]) for name in names}
        self._waiting = []
        path = self._write(digests, arrays, common)
        self._adopt(_Shard(digests, common, names, None if path else arrays, path))

    def rows(self, digests: Sequence[str]) -> StoredRows:
        """The rows of these digests, in this order; their arrays (N, ...) are read when asked for."""
        assert digests, "the rows of nothing"
        places_N2 = np.array([self._place[digest] for digest in digests])
        return StoredRows(self, places_N2)

    def common(self, digest: str) -> Common:
        """What this row shares with the others."""
        return self._shards[self._place[digest][0]].common

    def gather(self, name: str, places_N2: npt.NDArray[np.integer]) -> Array:
        """One array of the rows at these places (shard, row of the shard), in this order (N, ...).

        Raises:
            StorageError: the file of a shard is gone or damaged since it was opened.
        """
        shard_N, row_N = places_N2.T
        result: Array | None = None
        for index in np.unique(shard_N):
            wanted = shard_N == index
            values = self._load(int(index), name)[row_N[wanted]]
            if result is None:
                result = np.empty((len(places_N2), *values.shape[1:]), dtype=values.dtype)
            result[wanted] = values
        assert result is not None
        return result

    def names(self, shard: int) -> tuple[str, ...]:
        return self._shards[shard].names

    def _adopt(self, shard: _Shard) -> None:
        self._shards.append(shard)
        for row, digest in enumerate(shard.digests):
            self._place[digest] = (len(self._shards) - 1, row)

    def _load(self, index: int, name: str) -> Array:
        shard = self._shards[index]
        if shard.arrays is not None:
            return shard.arrays[name]
        assert shard.path is not None
        try:
            with safe_open(shard.path, framework="numpy") as stream:
                values: Array = stream.get_tensor(name)
                return values
        except (FileNotFoundError, SafetensorError) as problem:
            raise StorageError(
                f"cached features have vanished while they were in use: {shard.path} ({problem})",
                "Run the command again; what is missing is measured anew.",
            ) from problem

    def _write(self, digests: list[str], arrays: Arrays, common: Common) -> Path | None:
        if self.folder is None:
            return None
        path = self.folder / f"{secrets.token_hex(8)}.safetensors"
        tensors: dict[str, Array] = {
            _DIGESTS: np.stack([np.frombuffer(bytes.fromhex(digest), dtype=np.uint8) for digest in digests]),
            **{_COMMON + name: values for name, values in common.reference.items()},
            **arrays,
        }
        metadata = {"stages": json.dumps(common.stages), "checksum": str(_checksum(tensors))}
        try:
            atomic_write(path, save(tensors, metadata=metadata))
        except StorageError as problem:
            log.warning("features are kept in memory only, the next command computes them again: %s", problem.message)
            self.folder = None
            return None
        return path


class StoredRows(Mapping[str, Array]):
    """Some rows of a store as a mapping: name -> array (N, ...), read from the disk at each look."""

    def __init__(self, store: FeatureStore, places_N2: npt.NDArray[np.integer]) -> None:
        self._store = store
        self._places_N2 = places_N2
        self._names = store.names(int(places_N2[0, 0]))

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self._store.gather(name, self._places_N2)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def select(self, index_N: npt.NDArray[np.integer]) -> StoredRows:
        """A selection of the rows."""
        return StoredRows(self._store, self._places_N2[index_N])


def _checksum(tensors: Arrays) -> int:
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(np.ascontiguousarray(tensors[name]).data, checksum)
    return checksum


def _open_shard(path: Path) -> _Shard | None:
    """Read a shard's index; a damaged file is removed, since its rows can be computed again."""
    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata()
            stages = tuple(json.loads(metadata["stages"]))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            if metadata["checksum"] != str(_checksum(tensors)):
                raise ValueError("its checksum is wrong")
            digests = [bytes(row).hex() for row in tensors.pop(_DIGESTS)]
            common = {name: values for name, values in tensors.items() if name.startswith(_COMMON)}
            reference = {name.removeprefix(_COMMON): np.array(values) for name, values in common.items()}
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, TypeError, ValueError):
        log.warning("a damaged file of cached features is removed and its images measured again: %s", path)
        with suppress(OSError):  # on a read-only disk it stays, and is passed over every time
            path.unlink()
        return None
    names = tuple(sorted(tensors.keys() - common.keys()))
    return _Shard(digests, Common(stages, reference), names, None, path)
