"""The catalog of techniques as a page of Markdown: docs/techniques.md."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.recipes.dump import scalar_text
from finetune_advisor.recipes.load import shipped_measurement, shipped_recipes
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.techniques.base import documentation, settings_in
from finetune_advisor.techniques.catalog import Entry, Key, catalog, families

_OPENING = """# Techniques

Everything a recipe can name, made from the code by `make techniques`. `finetune-advisor techniques NAME` shows the same
in the terminal, `--json` gives it to scripts. A key without a default has to be written. What was measured stands where
we measured it; the sources say what their authors found. *Advised* says when `analyze` chooses a technique by
itself; the others wait until a person names them, and say why.

How to add one: [architecture.md](architecture.md#adding-a-technique).
"""


def technique_page() -> str:
    """The whole page; a test fails when the file says something else."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _OPENING
    entries = catalog()
    for family in families():
        places = list(_places(family))
        yield f"## {family}\n"
        yield f"{places[0][1]}. In a recipe: {', '.join(f'`{key}`' for key, _ in places)}.\n"
        for entry in entries:
            if entry.family == family:
                yield from _technique(entry)


def _places(family: str) -> Iterator[tuple[str, str]]:
    """The dotted keys of a recipe that take this family, each with its meaning."""
    members = set(families()[family])
    for name, field in Recipe.model_fields.items():
        inside = settings_in(field.annotation)
        if members <= set(inside):
            yield name, documentation(Recipe, name)
        elif len(inside) == 1:
            for inner, below in inside[0].model_fields.items():
                if members <= set(settings_in(below.annotation)):
                    yield f"{name}.{inner}", documentation(inside[0], inner)


def _technique(entry: Entry) -> Iterator[str]:
    yield f"### {entry.kind}\n"
    yield f"{entry.summary}.{f' {entry.remarks}' if entry.remarks else ''}\n"
    if entry.keys:
        yield "| key | values | default | |"
        yield "|---|---|---|---|"
        yield from (_row(key) for key in entry.keys)
        yield ""
    yield f"*Source:* {entry.source}.\n"
    measured = entry.measured or (shipped_measurement(entry.kind) if entry.kind in shipped_recipes() else "")
    if measured:
        yield f"*Measured:* {measured[0].upper()}{measured[1:]}\n"
    yield f"*Advised:* {entry.advised}\n" if entry.advised else f"*Never advised by itself:* {entry.not_advised}\n"


def _row(key: Key) -> str:
    default = "" if key.required else f"`{scalar_text(key.default)}`"
    cells = (f"`{key.name}`", key.type, default, f"{key.doc}.")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
