"""Every technique there is, found by walking the families' registries."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from finetune_advisor.techniques.activation import AnyActivation
from finetune_advisor.techniques.augmentation import AnyAugmentation
from finetune_advisor.techniques.averaging import AnyAveraging
from finetune_advisor.techniques.base import Settings, Technique, documentation, remarks, settings_in, summary
from finetune_advisor.techniques.ensembling import AnyEnsembling
from finetune_advisor.techniques.initialization import AnyInitialization
from finetune_advisor.techniques.loss import AnyLoss
from finetune_advisor.techniques.mixing import AnyMixing
from finetune_advisor.techniques.optimizer import AnyOptimizer
from finetune_advisor.techniques.preprocessing import AnyPreprocessing
from finetune_advisor.techniques.regularization import AnyRegularization
from finetune_advisor.techniques.schedule import AnySchedule
from finetune_advisor.techniques.strategy import AnyStrategy

_REGISTRIES: dict[str, Any] = {
    "preprocessing": AnyPreprocessing,
    "strategy": AnyStrategy,
    "initialization": AnyInitialization,
    "activation": AnyActivation,
    "augmentation": AnyAugmentation,
    "mixing": AnyMixing,
    "loss": AnyLoss,
    "regularization": AnyRegularization,
    "optimizer": AnyOptimizer,
    "schedule": AnySchedule,
    "averaging": AnyAveraging,
    "ensembling": AnyEnsembling,
}

_NAMES = {float: "number", int: "whole number", str: "text", bool: "true | false", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a technique: its type in words, its default and what it means."""

    name: str
    type: str
    default: Any
    doc: str
    required: bool
    """Whether it has to be written; it then has no default."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One technique as the catalog shows it."""

    family: str
    kind: str
    summary: str
    remarks: str
    """When to use it, and when not."""
    source: str
    measured: str
    """What we found when we measured it; empty where we have not."""
    advised: str
    """When the advice chooses it; empty where it never does."""
    not_advised: str
    """Why the advice never chooses it by itself; empty where it does."""
    keys: tuple[Key, ...]


def families() -> dict[str, tuple[type[Technique], ...]]:
    """The classes of each family, in the order of the recipe's keys."""
    return {family: _members(registry) for family, registry in _REGISTRIES.items()}


def kind_of(technique: type[Settings]) -> str:
    """The name of a technique in a recipe."""
    kind = technique.model_fields["kind"].default
    assert isinstance(kind, str), f"{technique.__name__} gives no kind"
    return kind


def catalog() -> tuple[Entry, ...]:
    """Every technique, by family, in the order of its registry."""
    return tuple(_entry(family, technique) for family, group in families().items() for technique in group)


def _members(registry: Any) -> tuple[type[Technique], ...]:
    return tuple(found for found in settings_in(registry) if issubclass(found, Technique))


def _entry(family: str, technique: type[Technique]) -> Entry:
    keys = tuple(_key(technique, name, field) for name, field in technique.model_fields.items() if name != "kind")
    return Entry(
        family=family,
        kind=kind_of(technique),
        summary=summary(technique),
        remarks=remarks(technique),
        source=technique.source,
        measured=technique.measured,
        advised=technique.advised,
        not_advised=technique.not_advised,
        keys=keys,
    )


def _key(technique: type[Technique], name: str, field: FieldInfo) -> Key:
    required = field.is_required()
    default = None if required else field.default
    return Key(name, type_text(field), default, documentation(technique, name), required)


def type_text(field: FieldInfo) -> str:
    """The values a key takes, in words: `number > 0 and <= 1`, `crop | pad | stretch`, `list of text`."""
    return _type_text(field.annotation, field.metadata)


def _type_text(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0], arguments[1:])
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(_type_text(argument) for argument in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {_type_text(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(_type_text(argument) for argument in arguments)}]"
    return f"{_NAMES[annotation]} {' and '.join(_bounds(metadata))}".rstrip()


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    for item in metadata:
        match item:
            case FieldInfo():
                yield from _bounds(item.metadata)
            case annotated_types.Ge(ge=bound):
                yield f">= {bound}"
            case annotated_types.Gt(gt=bound):
                yield f"> {bound}"
            case annotated_types.Le(le=bound):
                yield f"<= {bound}"
            case annotated_types.Lt(lt=bound):
                yield f"< {bound}"
