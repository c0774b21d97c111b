"""A trained network as a folder that timm opens, and the program that uses it without this package.

`model.safetensors` holds the weights, `config.json` is in timm's layout: what timm reads, the class names in
`label_names`, and a block `finetune_advisor` with everything of ours.

The words and the programs repeat what this package does to every image it predicts; tests run the programs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import timm
from safetensors import SafetensorError
from safetensors.torch import save
from torch import nn

from finetune_advisor.errors import RunError
from finetune_advisor.storage.files import atomic_write
from finetune_advisor.techniques.preprocessing import Preprocess

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


ONNX_FILE = "model.onnx"

GROUND = (255, 255, 255)
"""Color that shows where an image is transparent."""

_DETAIL = 2
"""A JPEG keeps at least this many times the pixels per side that the resize needs."""

_PIXELS = '''\
def pixels(path):
    """A file as the network takes it: RGB, uint8, ({size}, {size}, 3)."""
    image = Image.open(path)  # the first frame where there are several
    tags = getattr(image, "tag_v2", {{}})  # of a TIFF
{before}    image.draft(None, ({draft}, {draft}))  # a larger JPEG is decoded at 1/2, 1/4 or 1/8 of its size
    image = ImageOps.exif_transpose(image)  # upright
    if image.mode[0] in "IF":  # more than 8 bits
        values = np.asarray(image, np.float64)
        white = 1 if image.mode == "F" else 4095 if 12 in tags.get(258, ()) else 65535
        if tags.get(262) == 0:  # a TIFF that counts from white
            values = white - values
        levels = {levels}
        if not {fine}:
            raise ValueError(f"{{path}}: {problem}")
        image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:  # on white
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if image.size != ({size}, {size}):
{fit}
    return np.asarray(image)
'''

_UNSCALED = {
    "before": "",
    "levels": "values * (255 / white)",
    "fine": "-0.5 <= levels.min() <= levels.max() <= 255.5",
    "problem": "values from {values.min()} to {values.max()}, and nothing says which are black and white",
}
"""What `_PIXELS` is filled with for images of the usual scales."""

_SCALED = """\
    if image.mode[0] not in "IF" and any(";16" in str(tile[3]) for tile in image.tile):
        raise ValueError(f"{path}: color with 16 bits per channel, of which Pillow keeps 8")
"""

_FITS = {
    "crop": """\
        width, height = image.size
        shorter = min(width, height)
        image = image.resize(({side} * width // shorter, {side} * height // shorter), Image.Resampling.{filter})
        left, top = round((image.width - {size}) / 2), round((image.height - {size}) / 2)
        image = image.crop((left, top, left + {size}, top + {size}))""",
    "pad": """\
        scale = {size} / max(image.size)
        inner = image.resize(tuple(max(1, round(side * scale)) for side in image.size), Image.Resampling.{filter})
        image = Image.new("RGB", ({size}, {size}), {fill})  # the mean color
        image.paste(inner, (({size} - inner.width) // 2, ({size} - inner.height) // 2))""",
    "stretch": """\
        image = image.resize(({size}, {size}), Image.Resampling.{filter})""",
}

_WITH_TIMM = """\
import numpy as np
import timm
import torch
from PIL import Image, ImageOps

net = timm.create_model("local-dir:.", pretrained=True).eval()  # from this folder; "hf-hub:USER/NAME" once pushed
mean, std = (torch.tensor(net.pretrained_cfg[key]) for key in ("mean", "std"))


{pixels}

def predict(path):
    x_HWC = (torch.tensor(pixels(path)) / 255 - mean) / std
    with torch.inference_mode():
        probabilities = net(x_HWC.permute(2, 0, 1)[None]).softmax(1)[0]
    return dict(zip(net.pretrained_cfg["label_names"], probabilities.tolist()))


print(predict("image.jpg"))
"""

_WITH_ONNX = """\
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{file}")
classes = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])


{pixels}

def predict(path):
    [probabilities] = session.run(None, {{"pixels": pixels(path).transpose(2, 0, 1)[None]}})
    return dict(zip(classes, probabilities[0].tolist()))


print(predict("image.jpg"))
"""


def steps(p: Preprocess) -> list[str]:
    """What is done to a file, in order, until it is the uint8 pixels that are normalized."""
    size = f"{p.size} x {p.size}"
    fits = {
        "crop": f"resize the shorter side to {_side(p)} ({p.interpolation}), keep the aspect ratio, "
        f"and cut out the center, {size}",
        "pad": f"resize the longer side to {p.size} ({p.interpolation}), keep the aspect ratio, "
        f"and center the image on a square of {size} with the color {fill_color(p)}",
        "stretch": f"resize to {size} ({p.interpolation}), whatever the aspect ratio",
    }
    return [
        "take the first frame where the file holds several; decode a JPEG at 1/2, 1/4 or 1/8 of its size where both "
        f"sides keep at least {_DETAIL * _side(p)} pixels (Pillow's `draft`)",
        "turn it upright by its EXIF orientation",
        f"map values of more than 8 bits linearly, {_scale(p)}",
        "show what is transparent on white",
        "convert to RGB, 8 bits per channel; color profiles are not applied",
        f"{fits[p.fit]}; an image of exactly this size is taken as it is",
    ]


def with_timm(p: Preprocess) -> str:
    """A program that predicts an image with timm and Pillow; it runs in the folder of `config.json`."""
    return _WITH_TIMM.format(pixels=_pixels(p))


def with_onnx(p: Preprocess) -> str:
    """A program that predicts an image with ONNX Runtime, NumPy and Pillow; it runs in the folder of `model.onnx`."""
    return _WITH_ONNX.format(pixels=_pixels(p), file=ONNX_FILE)


def fill_color(p: Preprocess) -> tuple[int, ...]:
    """The mean color, on which `pad` shows an image."""
    return tuple(round(255 * value) for value in p.mean)


def _side(p: Preprocess) -> int:
    return math.floor(p.size / p.crop_pct) if p.fit == "crop" else p.size


def _scale(p: Preprocess) -> str:
    if p.value_range is None:
        return (
            "0..65535 to 0..255 (of floats 0..1, in a TIFF of 12 bits 0..4095), and refuse images with values beyond; "
            "of color with 16 bits per channel the upper 8 count"
        )
    low, high = p.value_range
    return f"{low:g}..{high:g} to 0..255, and clip what lies beyond; a TIFF that counts from white is inverted first"


def _pixels(p: Preprocess) -> str:
    scale = _UNSCALED
    if p.value_range is not None:
        low, high = p.value_range
        scale = {
            "before": _SCALED,
            "levels": f"(values - {low!r}) * (255 / {high - low!r})",
            "fine": "np.isfinite(levels).all()",
            "problem": "some of its pixels are not numbers",
        }
    fit = _FITS[p.fit].format(size=p.size, side=_side(p), filter=p.interpolation.upper(), fill=fill_color(p))
    return _PIXELS.format(size=p.size, draft=_DETAIL * _side(p), fit=fit, **scale)
