"""The page about a run is one file that needs nothing else, says what came of it, and obeys no name."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from finetune_advisor.reporting.run_page import RunFacts, least_sure, run_page, worst, write_figures


def made(facts: RunFacts) -> str:
    return run_page(facts, version="9.9", now=datetime(2030, 1, 2, tzinfo=UTC))


def text_of(html: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body))).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("which", ["run_facts", "hostile_run", "bare_run", "hostile_ensemble"])
def test_nothing_is_loaded_from_anywhere(which: str, request: pytest.FixtureRequest) -> None:
    html = made(request.getfixturevalue(which))
    tags = re.findall(r"<(\w+)([^>]*)>", html)
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in tags:
        for name, value in re.findall(r'([\w:-]+)="([^"]*)"', attributes):
            assert not name.startswith("on")
            assert name not in {"src", "data"} or re.match(r"data:image/(jpeg|png);base64,", value)
            assert name != "href" or value.startswith("#")


def test_what_came_of_the_run_is_on_the_page(run_facts: RunFacts) -> None:
    text = text_of(made(run_facts))
    accuracy = run_facts.metrics["test"]["accuracy"]
    for words in (
        f"{100 * accuracy:.1f} % of the test images are recognized",
        "Little data, different from ImageNet.",
        "1.000 on training images, 0.857 on validation images",
        "regularization: [{kind: dropout, rate: 0.3}]",
        "Not looked at: the weights: gone",
        "Loss (nats)",
        "Size of a step beside the weights",
        "Wrong, and surest of it",
        "finetune-advisor predict runs/textures-1 IMAGES",
        "finetune-advisor diagnose runs/textures-1 --apply better.yaml",
        "torch 2.6",
        "finetune-advisor 9.9 · 2030-01-02",
    ):
        assert words in text, words


def test_a_run_with_little_in_it_makes_a_shorter_page(bare_run: RunFacts) -> None:
    text = text_of(made(bare_run))
    assert "validation, out of fold" in text and "of the validation images are recognized" in text
    assert "Accuracy out of fold" in text and "the strength that was chosen" in text
    assert "environment.json is missing" in text and "no analysis beside it" in text
    assert "First-layer filters" not in text and "None" not in text


def test_an_ensemble_shows_its_members_and_what_it_gains(ensemble_facts: RunFacts) -> None:
    html = made(ensemble_facts)
    text = text_of(html)
    assert "finetune-advisor ensemble" in text and "no analysis beside it" not in text
    assert "0.760 beside 0.740 of rate-1 , the best member by held-out images" in text
    assert "+2.0 points [-1.0, +5.0] on 30 images: they cannot be told apart" in text
    assert "1.5 times as long: 30.0 ms, 20.0 ms alone" in text and "245 held-out images" in text
    assert text.index("rate-3 0.75 0.880") < text.index("rate-1 0.25 0.900") < text.index("left-out – 0.890")
    assert "too good" not in text


def test_an_ensemble_without_test_images_says_that_its_gain_is_too_good(ensemble_facts: RunFacts) -> None:
    ensemble = ensemble_facts.ensemble
    assert ensemble is not None
    gain = ensemble.gain.model_copy(update={"split": "val"})
    text = text_of(made(replace(ensemble_facts, ensemble=ensemble.model_copy(update={"gain": gain}))))
    assert "so the gain is too good" in text


def test_what_stands_between_backticks_is_code(run_facts: RunFacts) -> None:
    html = made(replace(run_facts, why=("Try `analyze --strategy few_layers`, `<b>` or a lone `",)))
    assert "Try <code>analyze --strategy few_layers</code>, <code>&lt;b&gt;</code> or a lone `" in html


@pytest.mark.parametrize("which", ["hostile_run", "hostile_ensemble"])
def test_names_are_shown_and_not_obeyed(which: str, request: pytest.FixtureRequest) -> None:
    html = made(request.getfixturevalue(which))
    assert "<script" not in html
    assert not re.search(r"<img src=x|<b>", html)
    assert 'document.title="x"' in text_of(html) and "{{ 7 * 7 }}" in text_of(html)
    assert "\u202e" not in html and "\x1b" not in html


def test_the_surest_mistakes_and_the_least_sure_answers_are_shown(run_facts: RunFacts) -> None:
    mistakes, unsure = worst(run_facts.answers), least_sure(run_facts.answers)
    assert mistakes and all(not one.right for one in mistakes)
    assert [one.probability for one in mistakes] == sorted((one.probability for one in mistakes), reverse=True)
    assert len(unsure) == 4 and not {one.name for one in unsure} & {one.name for one in mistakes}


@pytest.mark.parametrize("which", ["run_facts", "hostile_run", "bare_run"])
def test_figures_are_files_of_their_own_for_light_and_dark(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    facts = request.getfixturevalue(which)
    written = write_figures(facts, tmp_path)
    names = {path.name for path in written}
    assert {"loss.svg", "accuracy.svg", "confusion.svg", "reliability.svg"} <= names
    if facts.looks:
        assert {"rates.svg", "updates.svg", "throughput.svg", "filters.png", "mistakes.png", "least_sure.png"} <= names
    for path in written:
        if path.suffix == ".svg":
            root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
            assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("viewBox")
            assert [float(each) for each in (root.get("viewBox") or "").split()][1] < 0, "room for its title"
            assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")
