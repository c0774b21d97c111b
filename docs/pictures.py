"""Make the terminal picture of the README from a real analysis: python docs/pictures.py (after `make demo`)."""

from __future__ import annotations

import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.artifacts.recipe_file import load_recipe
from finetune_advisor.cli.render import render_analysis

HERE = Path(__file__).parent
DEMO = HERE.parent / "demo"
WIDTH = 84

# Without the fonts that rich links to: the picture loads nothing from elsewhere.
SELF_CONTAINED = re.sub(r"@font-face\s*{{.*?}}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    profile = Profile.load(DEMO / "analysis" / "profile.json").model_copy(update={"data": "digits"})
    strategy = load_recipe(DEMO / "recipe.yaml").strategy.kind
    console = Console(record=True, width=WIDTH, force_terminal=True, file=(HERE / "analysis.txt").open("w"))
    console.print(render_analysis(profile, strategy, Path("recipe.yaml"), Path("analysis")))
    (HERE / "analysis.txt").unlink()
    svg = console.export_svg(title="finetune-advisor analyze digits", code_format=SELF_CONTAINED)
    (HERE / "analysis.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
