"""A trained network as a folder that timm opens: `timm.create_model("local-dir:FOLDER", pretrained=True)`.

`model.safetensors` holds the weights, `config.json` is in timm's layout: what timm reads, the class names in
`label_names`, and a block `finetune_advisor` with everything of ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import timm
from safetensors import SafetensorError
from safetensors.torch import save
from torch import nn

from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.errors import RunError
from finetune_advisor.techniques.preprocessing.settings import Preprocess

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
OUR_BLOCK = "finetune_advisor"


_CROP_MODES = {"crop": "center", "pad": "border", "stretch": "squash"}
"""Ways to make a square of a rectangle -> timm's words for them."""


class Preprocessing(TypedDict):
    """How an image becomes the network's input: size (channels, height, width), normalization, resizing."""

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str


def described(preprocess: Preprocess) -> Preprocessing:
    """Preprocessing in timm's words, of which only `crop` takes a part of the image; see `snippets` for the whole."""
    return {
        "input_size": (3, preprocess.size, preprocess.size),
        "mean": preprocess.mean,
        "std": preprocess.std,
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_pct if preprocess.fit == "crop" else 1.0,
        "crop_mode": _CROP_MODES[preprocess.fit],
    }


def save_model(
    net: nn.Module,
    folder: Path,
    *,
    architecture: str,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    details: dict[str, Any],
    model_args: dict[str, Any] | None = None,
) -> None:
    """Write `net` to `folder`, each file whole or not at all.

    `architecture` is the name under which timm builds it, with `model_args` where it takes some. The order of
    `classes` is that of the logits. `details` must be JSON; it is kept for `load_model`.

    Raises:
        StorageError: the folder cannot be written.
    """
    save_state(net, _config(net, architecture, classes, preprocessing, details, model_args or {}), folder)


def save_state(net: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Write the weights of `net` beside a configuration as `load_model` gives it, each file whole or not at all.

    Raises:
        StorageError: the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    atomic_write(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    atomic_write(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Open what `save_model` wrote: the net in evaluation mode on the CPU, and what its config.json says.

    Raises:
        RunError: a file is missing, damaged, or does not belong to the other.
    """
    config = _read_config(folder / CONFIG_FILE)
    if not (folder / WEIGHTS_FILE).is_file():
        raise RunError(f"{folder} holds no {WEIGHTS_FILE}", _HINT)
    try:
        net: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(f"the model in {folder} cannot be opened: {reason}", _HINT) from error
    return net.eval(), config


def timm_opens_alone(folder: Path) -> bool:
    """Whether timm has a network of this shape, so that the model opens where this package is not installed.

    Raises:
        RunError: config.json is missing or damaged.
    """
    module: str = timm.models.model_entrypoint(_read_config(folder / CONFIG_FILE)["architecture"]).__module__
    return module.startswith("timm.")


_HINT = "Expected a folder `model` of a finished run."


def _config(
    net: nn.Module,
    architecture: str,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    details: dict[str, Any],
    model_args: dict[str, Any],
) -> dict[str, Any]:
    ours = net.pretrained_cfg
    num_classes: int = net.num_classes  # type: ignore[assignment]
    assert len(classes) == num_classes, f"{len(classes)} class names for {num_classes} classes"
    return {
        "architecture": architecture.partition(".")[0],
        "num_classes": num_classes,
        "num_features": net.num_features,
        "label_names": list(classes),
        "model_args": model_args,
        "pretrained_cfg": {
            **preprocessing,
            "num_classes": num_classes,
            "fixed_input_size": ours["fixed_input_size"],  # type: ignore[index]
            "pool_size": None,
            "first_conv": ours["first_conv"],  # type: ignore[index]
            "classifier": ours["classifier"],  # type: ignore[index]
            "custom_load": False,
        },
        OUR_BLOCK: details,
    }


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path.parent} holds no {CONFIG_FILE}", _HINT) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged: {error}", _HINT) from error
    if not isinstance(config, dict) or "architecture" not in config or OUR_BLOCK not in config:
        raise RunError(f"{path} was not written by finetune-advisor", _HINT)
    return config
