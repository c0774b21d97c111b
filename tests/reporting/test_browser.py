"""The page in a real browser: it opens in silence, shows its pictures, obeys no name, fits a telephone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor.records.profile import Profile
from finetune_advisor.reporting.analysis_page import Advised, page
from finetune_advisor.reporting.run_page import RunFacts, run_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here")

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--enable-logging=stderr",
    "--log-level=0",
    "--virtual-time-budget=3000",
    "--dump-dom",
)

PROBE = """<script>
window.addEventListener("load", () => {
  document.body.style.width = "390px";
  const images = [...document.images];
  const beyond = [...document.body.querySelectorAll("*")].filter(
    (each) => !each.closest(".scroll, svg") && each.getBoundingClientRect().right > 391);
  document.documentElement.dataset.seen = JSON.stringify({
    images: images.length, empty: images.filter((each) => each.naturalWidth === 0).length,
    unnamed: images.filter((each) => !each.alt).length + document.querySelectorAll("svg:not([aria-labelledby])").length,
    scripts: document.scripts.length, title: document.title, charts: document.querySelectorAll("svg").length,
    beyond: beyond.map((each) => each.tagName + "." + each.className + " " + each.textContent.slice(0, 60)),
  });
});
</script>"""
"""What a test asks of the page. It is put into a copy without the page's own policy, which lets no script run."""


@dataclass(frozen=True)
class Opened:
    dom: str
    console: tuple[str, ...]

    @property
    def seen(self) -> dict[str, Any]:
        found = re.search(r'data-seen="([^"]*)"', self.dom)
        assert found is not None
        answer = json.loads(unescape(found[1]))
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def open_page(tmp_path: Path) -> Callable[[str], Opened]:
    """Opens HTML in the browser, narrow enough that the rules for telephones hold."""

    def opened(html: str) -> Opened:
        path = tmp_path / "opened.html"
        path.write_text(html, encoding="utf-8")
        assert BROWSER is not None
        command = (BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'browser'}", "--window-size=500,900", path.as_uri())
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return Opened(result.stdout, tuple(line for line in result.stderr.splitlines() if "CONSOLE" in line))

    return opened


@pytest.fixture
def html(advise: Callable[..., Advised], pictures: dict[str, Path]) -> Callable[[Profile], str]:
    def made(profile: Profile) -> str:
        return page(profile, advised=advise(profile), recipe=Path("recipe.yaml"), images=pictures, version="1")

    return made


def asked(html: str) -> str:
    """A copy of the page with the probe in it."""
    copy, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, html)
    assert policies == 1
    return copy


def test_the_page_opens_without_a_word_on_the_console(
    open_page: Callable[[str], Opened], html: Callable[[Profile], str], full: Profile
) -> None:
    opened = open_page(html(full))
    assert "How to go on" in opened.dom
    assert opened.console == ()


def test_its_pictures_are_present_and_nothing_is_wider_than_a_telephone(
    open_page: Callable[[str], Opened], html: Callable[[Profile], str], full: Profile
) -> None:
    seen = open_page(asked(html(full))).seen
    assert seen["images"] >= 7 and seen["empty"] == 0 and seen["unnamed"] == 0
    assert seen["charts"] == 5
    assert seen["beyond"] == []


def test_names_do_nothing_even_without_the_policy(
    open_page: Callable[[str], Opened], html: Callable[[Profile], str], hostile: Profile
) -> None:
    opened = open_page(asked(html(hostile)))
    seen = opened.seen
    assert opened.console == ()
    assert seen["scripts"] == 1, "the probe alone"
    assert seen["title"].endswith("what the images are and what to do about it")
    assert seen["images"] >= 7 and seen["empty"] == 0
    assert seen["beyond"] == []


def test_the_policy_stops_what_would_leave_the_page_and_the_console_would_say_so(
    open_page: Callable[[str], Opened], html: Callable[[Profile], str], bare: Profile
) -> None:
    """A check of these tests: they would notice."""
    opened = open_page(html(bare).replace("</main>", '<img src="http://localhost:9/x.png"><script>1</script></main>'))
    assert len(opened.console) >= 2
    assert any("Content Security Policy" in line for line in opened.console)


def test_the_page_of_a_run_is_as_silent_and_as_narrow(
    open_page: Callable[[str], Opened], run_facts: RunFacts, hostile_run: RunFacts
) -> None:
    opened = open_page(run_page(run_facts, version="1"))
    assert "How to use the model" in opened.dom and opened.console == ()
    seen = open_page(asked(run_page(run_facts, version="1"))).seen
    assert seen["charts"] == 8 and seen["images"] >= 9 and seen["empty"] == 0 and seen["unnamed"] == 0
    assert seen["beyond"] == []
    opened = open_page(asked(run_page(hostile_run, version="1")))
    assert opened.console == () and opened.seen["beyond"] == []
    assert opened.seen["scripts"] == 1 and opened.seen["title"].endswith("what came of the run and how to use it")


def test_the_page_of_an_ensemble_too(open_page: Callable[[str], Opened], hostile_ensemble: RunFacts) -> None:
    opened = open_page(asked(run_page(hostile_ensemble, version="1")))
    assert "What it gains" in opened.dom and opened.console == ()
    assert opened.seen["scripts"] == 1 and opened.seen["beyond"] == []
    assert opened.seen["images"] >= 9 and opened.seen["empty"] == 0 and opened.seen["unnamed"] == 0
