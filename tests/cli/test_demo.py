"""`finetune-advisor demo`, on fewer images than it has."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Command


@pytest.mark.slow
def test_the_demo_can_be_quiet_and_goes_on_with_a_new_run(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_advisor.workflows.demo.write_digits", few_digits)
    assert cli("demo", "--dir", "[red]x[/red]", "--quiet").output == ""
    shown = cli("demo", "--dir", "[red]x[/red]").stdout
    assert "finetune-advisor analyze [red]x[/red]/digits -o [red]x[/red]/recipe.yaml" in shown
    assert len(list(Path("[red]x[/red]/runs").iterdir())) == 2


@pytest.mark.slow
def test_a_recipe_edited_after_the_demo_is_kept_and_run(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_advisor.workflows.demo.write_digits", few_digits)
    cli("demo", "--quiet")
    recipe = Path("demo/recipe.yaml")
    edited = recipe.read_text().replace("name: digits", "name: mine")
    recipe.write_text(edited)
    assert "You edited the recipe" in cli("demo").stdout
    assert recipe.read_text() == edited
    assert sorted(path.name for path in Path("demo/runs").iterdir()) == ["digits-1", "mine-1"]


def few_digits(folder: Path) -> int:
    for split, count in (("train", 6), ("test", 2)):
        for color in ("red", "blue"):
            for number in range(count):
                shade = Image.effect_noise((32, 32), 20 + number)
                path = folder / split / color / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.merge("RGB", [shade, shade, Image.new("L", (32, 32), 255 * (color == "blue"))]).save(path)
    return 16
