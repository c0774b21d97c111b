"""A recipe's YAML cut into pieces that the page colors; put together again they are the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_KEY = re.compile(r"(?P<indent>\s*(?:- )?)(?P<key>[A-Za-z_][\w.-]*:)(?P<rest>.*)", re.DOTALL)
_VALUE = re.compile(
    r"""(?P<value>(?:\s*(?!\s|#)(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?:(?!\s+#).)*))?)(?P<comment>.*)""", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class YamlLine:
    """A line of YAML: `lead`, `key`, `value` and `comment` follow each other; `reason` is a comment on its own."""

    lead: str = ""
    key: str = ""
    value: str = ""
    comment: str = ""
    reason: str = ""


def yaml_lines(text: str) -> tuple[YamlLine, ...]:
    """The lines of a recipe as `dump_recipe` writes them."""
    return tuple(_line(line) for line in text.splitlines())


def _line(text: str) -> YamlLine:
    if text.lstrip().startswith("#"):
        return YamlLine(reason=text)
    found = _KEY.fullmatch(text)
    if found is None:
        return YamlLine(value=text)
    value = _VALUE.fullmatch(found["rest"])
    assert value is not None, text
    return YamlLine(found["indent"], found["key"], value["value"], value["comment"])
