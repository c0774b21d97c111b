"""Where a network's weights come from: bundled with a package, the hub, a file, or nowhere (random)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from finetune_advisor.backbones import bundled, hub
from finetune_advisor.backbones.bundled import file_digest, text_digest
from finetune_advisor.errors import WeightsError
from finetune_advisor.storage.paths import NO_FILE as WORDS

__all__ = ["WORDS", "Available", "Source", "Weights", "available", "default_weights", "find_weights", "untrained"]

Source = Literal["bundled", "hub", "random", "file"]


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one network, found but not opened.

    `name` is timm's name of the network, `tag` the training it stands for where that is known. `path` is the
    file that holds them, None for random ones, which `seed` determines.
    """

    name: str
    source: Source
    path: Path | None
    license: str | None
    tag: str | None
    seed: int | None = None

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that change whenever the weights do; a key for caches."""
        if self.path is not None:
            return text_digest(f"{self.name} {file_digest(self.path)}")
        return text_digest(f"{self.name} random {self.seed}")


class Available(NamedTuple):
    """A network that can be used here without a network connection."""

    name: str
    source: Source
    license: str | None


def default_weights(name: str) -> Literal["bundled", "hub"]:
    """What `weights` is where nobody says: "bundled" if a package here carries weights of the network, else "hub"."""
    return "bundled" if _architecture(name) in bundled.installed() else "hub"


def find_weights(name: str, weights: str, *, seed: int = 0) -> Weights:
    """Find the weights of the network `name`: "bundled", "hub", "random" or the path of a file.

    "hub" downloads the file if the local hub cache does not have it.

    Raises:
        WeightsError: they cannot be had here; the hint lists what can.
    """
    if weights == "bundled":
        return _find_bundled(name)
    if weights == "hub":
        return _find_on_hub(name)
    if weights == "random":
        return Weights(name, "random", None, license=None, tag=None, seed=seed)
    return _find_file(name, weights)


def available() -> tuple[Available, ...]:
    """What can be used here right now: bundled weights and those in the local hub cache."""
    found = [Available(name, "bundled", bundled.LICENSE) for name in bundled.installed()]
    found += [Available(name, "hub", hub.license_of(name)) for name in hub.cached_names()]
    return tuple(found)


def untrained() -> tuple[Available, ...]:
    """Networks of this package that have no weights anywhere: for training from scratch."""
    from finetune_advisor.backbones.from_scratch.slide_nets import SIDES

    return tuple(Available(name, "random", None) for name in SIDES)


def _find_bundled(name: str) -> Weights:
    network = _architecture(name)
    path = bundled.locate(network)
    if path is not None:
        return Weights(name, "bundled", path, license=bundled.LICENSE, tag="bundled")
    if network in bundled.PACKAGES:
        raise WeightsError(f"the bundled weights of {network} are not installed", bundled.install_hint(network))
    raise WeightsError(f"no weights of {name} are bundled", _what_can_be_used())


def _find_on_hub(name: str) -> Weights:
    entry = hub.entry(name)
    if entry is None:
        raise WeightsError(f"the hub has no weights of {name}", _what_can_be_used())
    path = hub.cached_file(entry)
    if path is None:
        reason = hub.why_unreachable()
        if reason is not None:
            raise WeightsError(
                f"the weights of {name} are not in the local hub cache and the hub cannot be asked: {reason}",
                _what_can_be_used(),
            )
        path = hub.download(entry)
    return Weights(name, "hub", path, license=entry.license, tag=entry.tag)


def _find_file(name: str, weights: str) -> Weights:
    path = Path(weights).expanduser()
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(f"the weights file {weights} {found}", f"Expected {', '.join(WORDS)} or the path of a file.")
    return Weights(name, "file", path.resolve(), license=None, tag=None)


def _what_can_be_used() -> str:
    found = ", ".join(f"{item.name} (weights: {item.source})" for item in available())
    usable = f"Usable here: {found}." if found else f"No weights are here. {bundled.install_hint()}."
    return f"{usable} Or give a file with weights: FILE."


def _architecture(name: str) -> str:
    return name.partition(".")[0]
