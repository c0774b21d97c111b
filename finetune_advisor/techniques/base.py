"""What every group of settings and every technique has in common, and what techniques may ask about the images."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of keys of a recipe.

    Values are taken literally: a number in quotes is text, `true` is not 1, and an unknown key is an error.
    Lists are tuples, so that settings can be compared and hashed. The docstring under a field is its comment in
    the YAML.
    """

    model_config = ConfigDict(
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )


class Technique(Settings):
    """One way of doing what a recipe key asks for.

    A subclass gives `kind` as a `Literal`, its keys as documented fields with defaults, and the seams of its family
    as methods. The first sentence of its docstring is its line in the catalog, the others say when to use it. Tensor
    code is imported inside the seams: reading a recipe must not load torch.
    """

    source: ClassVar[str]
    """Where the idea is from: a paper, or `slides: ...`."""
    measured: ClassVar[str] = ""
    """What we found when we measured it, in whole sentences with figures; empty where we have not."""
    advised: ClassVar[str] = ""
    """When the advice chooses it, in whole sentences; empty where it never does. The rules decide, a test compares."""
    not_advised: ClassVar[str] = ""
    """Why the advice never chooses it by itself; empty where it does."""

    kind: str
    """Which technique."""


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line and without its period."""
    flat = " ".join(inspect.cleandoc(text).split())
    return re.split(r"\.(?:\s|$)", flat, maxsplit=1)[0]


def remarks(technique: type[Technique]) -> str:
    """The sentences of a technique's docstring after the first: when to use it, and when not."""
    flat = " ".join(inspect.cleandoc(technique.__doc__ or "").split())
    return flat.removeprefix(first_sentence(flat)).lstrip(". ")


def summary(settings: type[Settings]) -> str:
    """The line of a class of settings in the catalog."""
    return first_sentence(settings.__doc__ or "")


def documentation(settings: type[Settings], name: str) -> str:
    """What a key means: the first sentence of its field's docstring, or of the technique's for `kind`."""
    if name == "kind":
        return summary(settings)
    return first_sentence(settings.model_fields[name].description or "")


def settings_in(annotation: Any) -> tuple[type[Settings], ...]:
    """The classes of settings inside a type: a union on `kind`, a list of it, or either with null."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return (annotation,)
    return tuple(found for argument in get_args(annotation) for found in settings_in(argument))


RGB = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Colors:
    """Statistics over all pixels of the training images, on the scale 0..1, red first.

    Attributes:
        mean: of each channel.
        covariance: between the channels, symmetric.
    """

    mean: RGB
    covariance: tuple[RGB, RGB, RGB]

    @property
    def std(self) -> RGB:
        """Standard deviation of each channel."""
        red, green, blue = (self.covariance[channel][channel] ** 0.5 for channel in range(3))
        return red, green, blue
