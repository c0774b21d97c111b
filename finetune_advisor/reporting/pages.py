"""The templates of all pages, and how their words are written."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from finetune_advisor.artifacts.recipe_dump import flow_text
from finetune_advisor.reporting.names import shown
from finetune_advisor.reporting.sentences import VIEW_NAMES, duration, percent, view_sentence

if TYPE_CHECKING:
    from jinja2 import Environment, Template

TEMPLATES = Path(__file__).parent / "templates"

WIDTH = 720
"""Pixels of a chart in a file of its own, where nothing else is asked for: twice its units."""


def template(name: str) -> Template:
    """A template that shows names as they are and obeys none of them."""
    return _environment().get_template(name)


def standalone(drawing: str, height: float) -> Markup:
    """A chart of the page as a file of its own: with its colors, and a ground that goes with them."""
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("colors.css", "charts.css"))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{round(WIDTH * height / 360)}" '
        'font-family="system-ui, sans-serif" '
    )
    begin, body = str(drawing).strip().removeprefix("<svg ").split(">", 1)
    ground = '<rect width="100%" height="100%" style="fill: var(--card)"/>'
    # Made from our own templates, in which every name is escaped already.
    return Markup(f"{opening}{begin}><style>{style}</style>{ground}{body}")  # noqa: S704


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
        "percent": percent,
        "duration": duration,
        "yaml": flow_text,
        "standalone": standalone,
        "view_name": lambda view: VIEW_NAMES[view],
        "view_sentence": view_sentence,
    }
    environment.filters |= words
    return environment
