"""The page is one file that needs nothing else, holds what was measured, and shows names as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.images.sources import Listing, Sample
from finetune_advisor.records.profile import Profile
from finetune_advisor.reporting.analysis_page import Advised, page, write_page
from finetune_advisor.reporting.gallery import ClassStrip, class_strips

Advise = Callable[..., Advised]
VOID = {"meta", "img", "br", "link", "input", "hr"}
ALONE = {"rect", "line", "circle", "path"}


class Structure(HTMLParser):
    """Tags, attributes and texts of a page; asserts that what is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert tag in VOID | ALONE

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts)).replace("\N{NO-BREAK SPACE}", " ")


def made(profile: Profile, advise: Advise, pictures: dict[str, Path] | None = None) -> str:
    return page(
        profile,
        advised=advise(profile),
        recipe=Path("recipe.yaml"),
        images=pictures or {},
        version="9.9",
        clean=Path("analysis/clean.csv"),
        now=datetime(2030, 1, 2, tzinfo=UTC),
    )


@pytest.mark.parametrize("which", ["full", "hostile", "bare"])
def test_nothing_is_loaded_from_anywhere(
    which: str, request: pytest.FixtureRequest, advise: Advise, pictures: dict[str, Path]
) -> None:
    html = made(request.getfixturevalue(which), advise, pictures)
    for tag, attributes in Structure(html).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "srcset", "poster", "data"}:
                assert (value or "").startswith("data:image/jpeg;base64,")
            if name in {"href", "xlink:href", "action"}:
                assert (value or "").startswith("#")
            if name == "style":
                assert re.fullmatch(r"width:[\d.]+%", value or "")
    styles = re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    assert len(styles) == 1
    assert not re.search(r"url\(|@import|https?:|expression", styles[0])


def test_what_was_measured_is_on_the_page(full: Profile, advise: Advise, pictures: dict[str, Path]) -> None:
    text = Structure(made(full, advise, pictures)).text
    for words in (
        "Little data, different from ImageNet: linear classifiers at stages",
        "0.895 0.872 to 0.914",
        "41 s",
        "largest class alone 0.333",
        "200 more images a class would tip it to many_layers.",
        "0.72 [0.71, 0.73]",
        "0.895 ± 0.011",
        "Ten times the images would bring about",
        "padded instead of cropped",
        "perhaps dotted (95 %)",
        "15 labels may be wrong.",
        "1 blank image: black, white or one color all over.",
        "700 of 1,200 images are very dark",
        "40 of 50 images looked at have at most 16 gray levels",
        "near-duplicates, correlation 0.97",
        "in more than one split",
        "2.7 times as far as usual",
        "12 times as wide as high",
        "it is cut short: the end of the file is missing",
        "81 % of the images are far from square",
        "RGB 1,180, L 20",
        "# because of this",
        "finetune-advisor run recipe.yaml",
        "finetune-advisor analyze analysis/clean.csv",
        "finetune-advisor 9.9 · 2030-01-02 · tf_efficientnet_lite0, bundled weights, 224 px, seed 0",
    ):
        assert words in text, words


def test_no_probability_of_a_cell_is_shown(full: Profile, advise: Advise, pictures: dict[str, Path]) -> None:
    """Nobody has compared it with outcomes."""
    text = Structure(made(full, advise, pictures)).text
    assert "sure of the cell" not in text and "83 %" not in text and "14 %" not in text


def test_a_forecast_without_errors_is_not_a_flat_one(full: Profile, advise: Advise) -> None:
    advised = advise(full)
    perfect = advised.expected.model_copy(update={"accuracy": 1.0, "low": 0.962, "high": 1.0})
    text = Structure(made(full, lambda _: replace(advised, expected=perfect))).text
    assert "expected accuracy ≥ 0.962 0.962 to 1.000" in " ".join(text.split())


def test_a_leak_comes_before_any_score(full: Profile, advise: Advise) -> None:
    text = Structure(made(full, advise)).text.partition("How to go on")[2]
    assert text.index("Your split leaks.") < text.index("expected accuracy") < text.index("0.895")


def test_a_profile_with_little_in_it_makes_a_shorter_page(bare: Profile, advise: Advise) -> None:
    text = Structure(made(bare, advise)).text
    assert "Nothing is wrong" in text
    for absent in (
        "Your split leaks",
        "Stage by stage",
        "More images",
        "Seen another way",
        "sure of the cell",
    ):
        assert absent not in text
    assert "None" not in text


def test_names_are_shown_and_not_obeyed(hostile: Profile, advise: Advise, pictures: dict[str, Path]) -> None:
    structure = Structure(made(hostile, advise, pictures))
    assert 'document.title="x"' in structure.text
    assert "{{ 7 * 7 }}" in structure.text and "[red]" in structure.text
    assert "\u202e" not in structure.text and "\x1b" not in structure.text
    assert all(attributes.get("src") != "x" for _, attributes in structure.tags)


def test_a_picture_that_is_not_there_has_its_name_shown(full: Profile, advise: Advise, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no image")
    structure = Structure(made(full, advise, {"train/banded/0.jpg": path}))
    assert not [tag for tag, _ in structure.tags if tag == "img"]
    missing = [attributes for _, attributes in structure.tags if attributes.get("class") == "missing"]
    assert any(one["aria-label"] == "no picture of train/banded/0.jpg" for one in missing)


def test_charts_and_pictures_have_words_for_those_who_cannot_see_them(
    full: Profile, advise: Advise, pictures: dict[str, Path]
) -> None:
    tags = Structure(made(full, advise, pictures)).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    drawings = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(drawings) == 5
    assert {one["aria-labelledby"] for one in drawings} <= ids
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")


def test_thousands_of_findings_and_classes_make_a_page_of_bounded_weight(full: Profile, advise: Advise) -> None:
    many = 3000
    health = full.health.model_copy(
        update={
            "label_suspects": full.health.label_suspects * 200,
            "bad_files": full.health.bad_files * many,
            "exact_duplicates": tuple((f"{n}/a", f"{n}/b") for n in range(many)),
            "outliers": full.health.outliers * many,
        }
    )
    splits = {"train": full.splits["train"].model_copy(update={"per_class": {f"c{n}": n + 1 for n in range(many)}})}
    html = made(full.model_copy(update={"health": health, "splits": splits}), advise)
    assert len(html) < 300_000
    assert "2,980 classes between" in html


def test_it_is_written_whole(full: Profile, advise: Advise, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_page(path, full, advised=advise(full), recipe=Path("r.yaml"), images={}, version="1")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_writing_the_page_loads_nothing_heavy() -> None:
    script = (
        "import sys; import finetune_advisor.reporting.analysis_page, finetune_advisor.reporting.run_page;"
        "from finetune_advisor.reporting.pages import template;"
        "template('analysis.html.j2'); template('run.html.j2');"
        "print([name for name in ('torch', 'matplotlib', 'scipy', 'sklearn') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_the_first_thing_shown_is_five_images_of_each_class(full: Profile, advise: Advise, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, samples = {}, []
    for label in range(20):
        for number in range(5):
            name = f"train/c{label}/{number}.jpg"
            images[name] = tmp_path / f"{label}-{number}.jpg"
            pixels_HWC = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels_HWC).resize((320, 240), Image.Resampling.BICUBIC).save(images[name])
            samples.append(Sample(str(tmp_path), name, label, "train"))
    images["train/c0/0.jpg"] = tmp_path / "gone.jpg"
    listing = Listing(tmp_path, str(tmp_path), tuple(f"c{label}" for label in range(20)), tuple(samples), ())
    many = full.model_copy(update={"classes": tuple(f"c{label}" for label in range(400))})

    def html(profile: Profile, strips: tuple[ClassStrip, ...]) -> str:
        return page(profile, advised=advise(profile), recipe=Path("r.yaml"), images=images, version="1", strips=strips)

    shown = html(many, class_strips(listing))
    pictures = [attributes for tag, attributes in Structure(shown).tags if tag == "img"]
    assert [one["alt"] for one in pictures[:2]] == ["c0: train/c0/1.jpg", "c0: train/c0/2.jpg"]
    assert len(pictures) == 99 and "no picture of c0: train/c0/0.jpg" in shown
    assert shown.index('alt="c19: ') < shown.index("expected accuracy")
    assert "20 of 400 classes, spread over their names." in Structure(shown).text
    assert len(shown) - len(html(many, ())) < 350_000
    assert "classes, spread" not in html(many.model_copy(update={"classes": listing.classes}), class_strips(listing))
