"""The templates of all pages, how their words are written, and YAML in colors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_advisor.recipes.dump import flow_text
from finetune_advisor.records.metrics import counted_images
from finetune_advisor.reporting.sentences import VIEW_NAMES, duration, ensemble_gain, percent, view_sentence
from finetune_advisor.text import shown

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"

WIDTH = 720
"""Pixels of a chart in a file of its own, where nothing else is asked for: twice its units."""

HEAD = 22
"""Units for its title above it."""


def template(name: str) -> Template:
    """A template that shows names as they are and obeys none of them."""
    return _environment().get_template(name)


def standalone(drawing: str, height: float, title: str) -> Markup:
    """A chart of the page as a file of its own: with its title, its colors, and a ground that goes with them."""
    from markupsafe import Markup, escape

    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("colors.css", "charts.css"))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{round(WIDTH * (height + HEAD) / 360)}" '
        'font-family="system-ui, sans-serif" '
    )
    begin, body = str(drawing).strip().removeprefix("<svg ").split(">", 1)
    begin = begin.replace('viewBox="0 0 360 ', f'viewBox="0 {-HEAD} 360 ').replace(
        f' {height}"', f' {height + HEAD}"', 1
    )
    ground = f'<rect y="{-HEAD}" width="100%" height="100%" style="fill: var(--card)"/>'
    heading = f'<text class="name" x="8" y="{14 - HEAD}">{escape(title)}</text>'
    # Made from our own templates, in which every name is escaped already.
    return Markup(f"{opening}{begin}><style>{style}</style>{ground}{heading}{body}")  # noqa: S704


def prose(text: str) -> Markup:
    """A sentence in which what stands between backticks is code, as it is in a terminal."""
    from markupsafe import Markup, escape

    # The backticks are ours, and what is between them is escaped like the rest.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words: dict[str, Any] = {
        "shown": shown,
        "counted_images": counted_images,
        "percent": percent,
        "prose": prose,
        "ensemble_gain": ensemble_gain,
        "duration": duration,
        "yaml": flow_text,
        "standalone": standalone,
        "view_name": lambda view: VIEW_NAMES[view],
        "view_sentence": view_sentence,
    }
    environment.filters |= words
    return environment


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
