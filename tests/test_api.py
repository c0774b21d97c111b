"""The page on the Python API, run as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ImageFolder

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.slow
def test_the_page_on_the_api_runs(
    image_folder: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not DOCS.is_dir():
        pytest.skip("these tests do not lie in a checkout")
    monkeypatch.chdir(tmp_path)
    image_folder({"train/ants": 14, "train/bees": 14, "test/ants": 4, "test/bees": 4}, name="photos")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), namespace)
    assert "photos/test/bees/003.png" in capsys.readouterr().out
    assert {path.name for path in Path("runs").iterdir()} == {"first", "first-cross_validation"}
