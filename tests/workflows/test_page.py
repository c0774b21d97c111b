"""The page gets its words from the advice, its figures from the profile and its pictures from the listing."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from finetune_advisor.advice.advise import Advice
from finetune_advisor.images.sources import Listing, Sample
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.profile import Predicted
from finetune_advisor.workflows.analyze import write_report
from tests.reporting.conftest import full_profile


def test_recipe_reasons_pictures_and_commands_are_on_the_page(tmp_path: Path) -> None:
    names = [f"{split}/{label}/{n}.png" for n in range(4) for split in ("train", "test") for label in ("ants", "bees")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    profile = full_profile(names, first="ants", second="bees")
    profile = profile.model_copy(update={"size": profile.size.model_copy(update={"amount": None, "threshold": 200.0})})
    expected = Predicted(accuracy=0.81, low=0.77, high=0.84, basis="the all probe, out of fold")
    advice = Advice(load_recipe("stage_probe"), {"strategy": "Because of the tests."}, expected, "Made up.")
    classes = ("ants", "bees")
    samples = tuple(Sample(str(tmp_path), name, classes.index(name.split("/")[1]), None) for name in names)
    listing = Listing(tmp_path, str(tmp_path), classes, samples, ())
    path = tmp_path / "analysis" / "report.html"
    write_report(
        path,
        profile,
        advice,
        listing,
        recipe=Path("recipe.yaml"),
        clean=Path("analysis/clean.csv"),
        seconds=125.0,
    )
    html = path.read_text(encoding="utf-8")
    for words in ("# Because of the tests.", "0.810", "2 min", "finetune-advisor analyze analysis/clean.csv", "✓ all"):
        assert words in html, words
    assert html.count("data:image/jpeg;base64,") >= 10
    assert html.index('alt="ants: ') < html.index('alt="bees: ') < html.index("expected accuracy")
