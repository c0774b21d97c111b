"""Make the terminal picture of the README from the demo's analysis: `make pictures`."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from finetune_advisor import Profile, advise
from finetune_advisor.cli.analyze import render_analysis

ROOT = Path(__file__).parent.parent
WIDTH = 82

# Without the fonts that rich links to: the picture loads nothing from elsewhere.
SELF_CONTAINED = re.sub(r"@font-face\s*{{.*?}}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def picture(profile: Profile) -> str:
    """The terminal output of `analyze` as a self-contained SVG."""
    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO())
    console.print(render_analysis(profile, advise(profile), Path("recipe.yaml"), Path("analysis")))
    return console.export_svg(title=f"finetune-advisor analyze {profile.data}", code_format=SELF_CONTAINED)


def main() -> None:
    profile = Profile.load(ROOT / "demo" / "analysis" / "profile.json")
    svg = picture(profile.model_copy(update={"data": "digits"}))
    (ROOT / "docs" / "analysis.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
