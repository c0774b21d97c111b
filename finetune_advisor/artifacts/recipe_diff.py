"""What differs between two recipes, and the shape that all of them have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_dump import scalar_text
from finetune_advisor.techniques.base import Settings, Technique


class Difference(NamedTuple):
    """A key on which two recipes differ; the values are YAML, None where a recipe does not have the key."""

    key: str
    before: str | None
    after: str | None


def diff_recipes(before: Recipe, after: Recipe) -> list[Difference]:
    """Every key with different values, in the order of the recipe; items of lists go by their kind."""
    return list(_compare("", before, after))


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe file, for editors; a file that extends another may leave keys out."""
    schema = Recipe.model_json_schema()
    required = schema.pop("required")
    schema["properties"]["extends"] = {
        "description": "A shipped recipe or a file whose keys this one changes.",
        "type": "string",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "anyOf": [{"required": ["extends"]}, {"required": required}],
    }


def _compare(key: str, before: Any, after: Any) -> Iterator[Difference]:
    old, new = _parts(before), _parts(after)
    if old is not None and new is not None:
        for name in dict.fromkeys([*old, *new]):
            inner = f"{key}.{name}".lstrip(".")
            if name in old and name in new:
                yield from _compare(inner, old[name], new[name])
            else:
                yield Difference(
                    inner,
                    _text(old[name]) if name in old else None,
                    _text(new[name]) if name in new else None,
                )
    elif before != after:
        yield Difference(key, _text(before), _text(after))


def _parts(value: Any) -> dict[str, Any] | None:
    """What a value is made of, by name; None for a single value or a list of such."""
    if isinstance(value, Settings):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, tuple) and value and isinstance(value[0], Technique):
        return {item.kind: item for item in value}
    return None


def _text(value: Any) -> str:
    if isinstance(value, Settings):
        return f"{{{', '.join(f'{name}: {_text(part)}' for name, part in (_parts(value) or {}).items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return scalar_text(value)
