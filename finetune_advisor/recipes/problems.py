"""What pydantic says about a recipe, in a person's words: which key, where, what is right instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from finetune_advisor.errors import Problem, RecipeError, did_you_mean
from finetune_advisor.recipes.recipe import CONFLICT, Recipe
from finetune_advisor.recipes.rules import conflicts
from finetune_advisor.recipes.yaml import Key, Node, place_of, plain
from finetune_advisor.techniques.base import Settings, documentation, settings_in
from finetune_advisor.techniques.catalog import kind_of

_EXPECTED = {
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "literal_error": "{expected}",
    "model_attributes_type": "keys and values",
    "model_type": "keys and values",
    "string_too_short": "some text",
    "string_type": "text",
    "string_unicode": "text in Unicode",
    "too_long": "{max_length} values",
    "too_short": "at least {min_length} value",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}
_LONGEST = 60


def recipe_of(tree: Node) -> Recipe:
    """The recipe that a tree of values spells.

    Raises:
        RecipeError: every wrong value and every contradiction, each with its place.
    """
    values = plain(tree)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        disagreements = dict(_conflict_sentences(values))
        # What is wrong inside a part that has no place here is not worth a sentence of its own.
        wrong = [
            (key, said)
            for key, said in _Translation(values).sentences(error)
            if not any(key[:length] in disagreements for length in range(1, len(key) + 1))
        ]
        sentences = [*wrong, *disagreements.items()]
    problems = [_place(tree, key, sentence) for key, sentence in sentences]
    problems.sort(key=lambda problem: (problem.file or "", problem.line or 0))
    missing = any(len(key) == 1 and sentence.startswith("missing") for key, sentence in sentences)
    raise RecipeError(problems, "`extends: few_layers` fills in what is missing." if missing else None)


def _conflict_sentences(values: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    for dotted, sentence in conflicts(values):
        yield tuple(int(part) if part.isdecimal() else part for part in dotted.split(".")), sentence


def _place(tree: Node, key: Key, sentence: str) -> Problem:
    place = place_of(tree, key)
    return Problem(_dotted(key), sentence, place.file, place.line)


def _dotted(key: Key) -> str:
    return ".".join(map(str, key))


class _Translation:
    """One reading of one recipe's values against the model."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.expected: dict[Key, list[str]] = {}
        self.said: list[tuple[Key, str]] = []

    def sentences(self, error: ValidationError) -> list[tuple[Key, str]]:
        """One sentence for each key that is wrong.

        Where a key may be one of several types, pydantic complains once for each: the complaints are joined, or
        dropped where one of the types fits but for something inside it.
        """
        for details in error.errors(include_url=False):
            if details["type"] != CONFLICT:
                self._read(details)
        inner = [key for key, _ in self.said] + list(self.expected)
        for key, expected in self.expected.items():
            if not any(other[: len(key)] == key and other != key for other in inner):
                self.said.append((key, self._found_instead(key, expected)))
        return self.said

    def _read(self, details: ErrorDetails) -> None:
        key = self._key(details)
        context = details.get("ctx", {})
        match details["type"]:
            case "missing" if isinstance(key[-1], int):
                self.expected[key[:-1]] = [f"{key[-1] + 1} values"]
            case "missing":
                self.said.append((key, self._missing(key)))
            case "extra_forbidden":
                self.said.append((key, self._unknown(key)))
            case "union_tag_not_found":
                self.said.append(((*key, "kind"), f"missing; {self._kinds(key)}"))
            case "union_tag_invalid":
                self.said.append(((*key, "kind"), self._unknown_kind((*key, "kind"))))
            case "literal_error" if key[-1] == "kind":
                self.said.append((key, self._unknown_kind(key)))
            case "value_error":
                self.said.append((key, str(context["error"])))
            case bound if bound in _BOUNDS:
                limit = _BOUNDS[bound].format_map(context)
                self.said.append((key, f"must be {limit}, found {_describe(details['input'])}"))
            case known if known in _EXPECTED:
                self.expected.setdefault(key, []).append(_EXPECTED[known].format_map(context))
            case _:
                self.said.append((key, details["msg"]))

    def _key(self, details: ErrorDetails) -> Key:
        """The key behind pydantic's location, which also names the members of unions it went through."""
        *outer, last = details["loc"]
        key: list[int | str] = []
        inside: Any = self.values
        for part in outer:
            if _has(inside, part) and not (isinstance(inside, Mapping) and part == inside.get("kind")):
                key.append(part)
                inside = inside[part]
        if _has(inside, last) or details["type"] == "missing":
            key.append(last)
        return tuple(key)

    def _value(self, key: Key) -> Any:
        value: Any = self.values
        for part in key:
            value = value[part]
        return value

    def _found_instead(self, key: Key, expected: list[str]) -> str:
        found = self._value(key)
        choices = re.findall(r"'([^']*)'", " ".join(expected))
        near = did_you_mean(found, choices) if isinstance(found, str) else ""
        return f"expected {' or '.join(dict.fromkeys(expected))}, found {_describe(found)}{near}"

    def _missing(self, key: Key) -> str:
        settings = self._settings(key[:-1])
        meaning = documentation(settings, str(key[-1])) if settings else ""
        return f"missing: {meaning[:1].lower()}{meaning[1:]}" if meaning else "missing"

    def _unknown(self, key: Key) -> str:
        name = str(key[-1])
        settings = self._settings(key[:-1])
        names = [*(settings.model_fields if settings else ()), *(["extends"] if settings is Recipe else [])]
        near = did_you_mean(name, names)
        elsewhere = [other for other in _leaves(self.values) if other.endswith(f".{name}") and other != _dotted(key)]
        if not near and elsewhere and name != "kind":
            near = f"; did you mean {elsewhere[0]!r}?"
        return f"unknown key{near or '; the keys here are ' + ', '.join(names)}"

    def _unknown_kind(self, key: Key) -> str:
        found = self._value(key)
        near = did_you_mean(found, self._names(key[:-1])) if isinstance(found, str) else ""
        return f"unknown kind {_describe(found)}; {self._kinds(key[:-1])}{near}"

    def _kinds(self, key: Key) -> str:
        return f"the kinds are {', '.join(self._names(key))}"

    def _names(self, key: Key) -> list[str]:
        return [kind_of(technique) for technique in self._candidates(key)]

    def _settings(self, key: Key) -> type[Settings] | None:
        """The class that the mapping at a key is read as; None where its `kind` is unknown."""
        return _chosen(self._candidates(key), self._value(key))

    def _candidates(self, key: Key) -> tuple[type[Settings], ...]:
        candidates: tuple[type[Settings], ...] = (Recipe,)
        value: Any = self.values
        for part in key:
            if isinstance(part, str):
                settings = _chosen(candidates, value)
                assert settings is not None, key
                candidates = settings_in(settings.model_fields[part].annotation)
            value = value[part]
        return candidates


def _chosen(candidates: tuple[type[Settings], ...], value: Any) -> type[Settings] | None:
    if len(candidates) == 1:
        return candidates[0]
    return next((candidate for candidate in candidates if kind_of(candidate) == value.get("kind")), None)


def _has(values: Any, part: int | str) -> bool:
    if isinstance(values, Mapping):
        return part in values
    return isinstance(values, tuple) and isinstance(part, int) and part < len(values)


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _leaves(value, f"{prefix}.{name}".lstrip("."))
    else:
        yield prefix


def _describe(value: Any) -> str:
    """A value as a person would point at it."""
    if isinstance(value, Mapping):
        return f"the keys {', '.join(map(str, value))}" if value else "{}"
    if isinstance(value, tuple):
        text = f"[{', '.join(map(_describe, value))}]"
    else:
        text = (
            {None: "null", True: "true", False: "false"}[value]
            if value is None or isinstance(value, bool)
            else repr(value)
        )
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
