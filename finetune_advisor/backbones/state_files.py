"""Open a file of weights without running anything that may hide in it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from finetune_advisor.errors import WeightsError

PICKLE_SUFFIXES = (".pth", ".pt", ".bin")
SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)

_EXPECTED = f"Expected a file ending in {', '.join(SUFFIXES)}."
_SAVE_HINT = "Save the weights alone: torch.save(net.state_dict(), file)."
_WRAPPERS = ("state_dict", "model")
_DATA_PARALLEL_PREFIX = "module."


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or a pickle that holds tensors and nothing that runs.

    A dict under the key "state_dict" or "model" is unwrapped, the prefix "module." that data-parallel
    training leaves behind is removed.

    Raises:
        WeightsError: the file is missing, damaged, of an unknown kind, holds code, or holds no state dict.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(f"the weights file {path} {found}", _EXPECTED)
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} is not a kind of weights file that can be opened: {path.suffix!r}", _EXPECTED)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return _unwrap(content, path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged: {error}", "Copy or download the file again.") from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it is not a plain set of tensors. Opening it would run code stored in the "
            "file, and a file from elsewhere could do anything with that.",
            "Save the weights alone, torch.save(net.state_dict(), file), or as safetensors.",
        ) from error
    except (RuntimeError, EOFError) as error:
        raise WeightsError(f"{path} is damaged: {error}", "Copy or download the file again.") from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no state dict but {_described(content)}", _SAVE_HINT)
    strays = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strays:
        raise WeightsError(f"{path} holds no state dict: {', '.join(strays[:5])} are no tensors", _SAVE_HINT)
    return {str(key).removeprefix(_DATA_PARALLEL_PREFIX): value for key, value in content.items()}


def _described(content: Any) -> str:
    return "nothing" if content == {} else f"a {type(content).__name__}"
