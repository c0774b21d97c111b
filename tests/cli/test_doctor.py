"""`doctor` prints what it found and answers with its exit code."""

from __future__ import annotations

import json

import pytest

from finetune_advisor.backbones import hub, weights
from tests.cli.conftest import Command


def test_it_prints_and_answers_with_its_exit_code(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "why_unreachable", lambda: "no route to it")
    assert "offline: no route to it" in cli("doctor").stdout
    assert json.loads(cli("doctor", "--json").stdout)["blocked"] is False
    monkeypatch.setattr(weights, "available", tuple)
    assert "✗ No pretrained weights" in cli("doctor", code=1).stdout
