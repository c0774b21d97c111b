"""A recipe to YAML with its reasons, what differs between two, and the schema of all."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.yaml import scalar
from finetune_advisor.techniques.base import Settings, Technique, documentation

_COLUMNS = 100
_UNEDITED = re.compile(r"^# unedited: ([0-9a-f]{16})\b.*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of YAML, the dotted keys it can be called by, and what its key means."""

    text: str
    keys: tuple[str, ...]
    meaning: str = ""


def dump_recipe(recipe: Recipe, *, reasons: Mapping[str, str] | None = None, header: str = "") -> str:
    """The YAML of a recipe, which loads back to an equal one.

    Args:
        recipe: what to write; every key is written, off ones as null.
        reasons: sentences by dotted key, each written above its line: `optimizer`, `optimizer.lr`, and for an
            item of a list `augmentation.0` or `augmentation.horizontal_flip`. Where there is none, the key's meaning
            stands beside it.
        header: lines for the top of the file.
    """
    reasons = reasons or {}
    lines = [line for block in _blocks(recipe) for line in block]
    unknown = set(reasons) - {key for line in lines for key in line.keys}
    assert not unknown, f"reasons for keys that the recipe does not have: {sorted(unknown)}"
    body = "\n".join("".join(_render(block, reasons)) for block in _blocks(recipe))
    top = "".join(f"# {line}".rstrip() + "\n" for line in map(_printable, header.splitlines()))
    digest = _digest(f"{top}\n{body}")
    return f"{top}# unedited: {digest} (by this line the tool knows that nobody has changed this file)\n\n{body}"


def is_edited(text: str) -> bool:
    """Whether a person wrote or changed the text of a recipe, rather than `dump_recipe` alone."""
    text = text.replace("\r\n", "\n")
    mark = _UNEDITED.search(text)
    return mark is None or mark[1] != _digest(text[: mark.start()] + text[mark.end() :])


def scalar_text(value: Any) -> str:
    """A value as YAML on one line, in quotes where it would be read as something else."""
    if isinstance(value, tuple):
        return f"[{', '.join(scalar_text(item) for item in value)}]"
    style = '"' if isinstance(value, str) and _needs_quotes(value) else None
    text = yaml.safe_dump(value, default_style=style, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def flow_text(value: Any) -> str:
    """Any value of a recipe as YAML on one line: mappings and lists in their braces."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {flow_text(part)}' for name, part in value.items())}}}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(flow_text, value))}]"
    return scalar_text(value)


def _needs_quotes(text: str) -> bool:
    """Whether PyYAML, which does not know our numbers and lists, would leave out quotes that are needed."""
    return scalar(text) != text or not text.isprintable() or bool(set(text) & set(",[]{}"))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _blocks(recipe: Recipe) -> Iterator[list[_Line]]:
    """The lines of each family; keys of one line that follow each other share a block."""
    together: list[_Line] = []
    for name in type(recipe).model_fields:
        value = getattr(recipe, name)
        lines = list(_lines(recipe, name, value, (name,)))
        if len(lines) == 1:
            together += lines
            continue
        if together:
            yield together
            together = []
        yield lines
    if together:
        yield together


def _lines(owner: Settings, name: str, value: Any, keys: tuple[str, ...], indent: str = "") -> Iterator[_Line]:
    meaning = documentation(type(owner), name)
    if isinstance(value, Settings):
        yield _Line(f"{indent}{name}:", keys, meaning)
        yield from _inside(value, keys, indent + "  ")
    elif isinstance(value, tuple) and value and isinstance(value[0], Technique):
        yield _Line(f"{indent}{name}:", keys, meaning)
        for index, item in enumerate(value):
            names = tuple(f"{key}.{part}" for key in keys for part in (index, item.kind))
            yield from _item(item, names, indent)
    else:
        yield _Line(f"{indent}{name}: {scalar_text(value)}", keys, meaning)


def _inside(settings: Settings, keys: tuple[str, ...], indent: str) -> Iterator[_Line]:
    for name in type(settings).model_fields:
        yield from _lines(settings, name, getattr(settings, name), tuple(f"{key}.{name}" for key in keys), indent)


def _item(item: Technique, keys: tuple[str, ...], indent: str) -> Iterator[_Line]:
    """The lines of a list item; its first line carries the item's own names too."""
    first, *others = _inside(item, keys, indent + "    ")
    yield _Line(f"{indent}  - {first.text.lstrip()}", keys + first.keys, first.meaning)
    yield from others


def _render(block: Sequence[_Line], reasons: Mapping[str, str]) -> Iterator[str]:
    """The text of a block, its meanings in one column."""
    explained = [line for line in block if not _reasons(line, reasons)]
    column = max((len(line.text) for line in explained if line.meaning), default=0) + 2
    for line in block:
        indent = line.text[: len(line.text) - len(line.text.lstrip())]
        for reason in _reasons(line, reasons):
            yield from (f"{row}\n" for row in _comment(reason, indent))
        beside = f"{line.text:<{column}}# {line.meaning}"
        fits = line in explained and line.meaning and len(beside) <= _COLUMNS
        yield f"{beside if fits else line.text}\n"


def _reasons(line: _Line, reasons: Mapping[str, str]) -> list[str]:
    return [reasons[key] for key in line.keys if key in reasons]


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(_printable(text), _COLUMNS, initial_indent=start, subsequent_indent=start)


def _printable(text: str) -> str:
    """Names of classes and files come from outside; a line break among them must not end the comment."""
    return "".join(character if character.isprintable() else " " for character in text)


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
