"""`finetune-advisor ensemble`, as a person or a script calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_it_shows_members_gain_with_interval_and_time(cli: Command, probe_run: Path, new_images: Path) -> None:
    data = probe_run.parent / "images"
    net = ("--set", "backbone.name=mobilenetv3_small_050", "--set", "backbone.weights=random")
    run = ("--set", f"data.path={data}", *net, "--set", "preprocessing.size=32", "--set", "runtime.workers=0")
    cli("run", "stage_probe", *run, "--set", "strategy.stages=[stem]", "--run-dir", "small", "--quiet")
    equal = ("--kind", "cross_validation", "--set", "ensemble.weights=equal", "-o", "out")
    error = cli("ensemble", probe_run, "small", *equal, code=1).stderr
    assert "see images differently: 64 pixels, crop, and 32 pixels, crop" in error
    cli("run", "stage_probe", *run[:-4], *run[-2:], "--set", "preprocessing.size=64", "--run-dir", "same", "--quiet")
    result = cli("ensemble", probe_run, "same", *equal)
    assert "best single" in result.stdout and "points [" in result.stdout and "ms an image" in result.stdout
    assert "too good" in result.stderr, "these images have no test split"
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "What it gains" in page and ">same</bdi>" in page and "so the gain is too good" in page
    assert cli("ensemble", probe_run, "same", *equal).stdout == result.stdout
    document = json.loads(cli("ensemble", probe_run, "same", *equal, "--json").stdout)
    assert [member["weight"] for member in document["members"]] == [0.5, 0.5]
    rows = json.loads(cli("predict", "out", new_images, "--json").stdout)
    assert len(rows) == 6 and all(row["error"] is None for row in rows)
    Path("out/report.html").unlink()
    cli("report", "out")
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "An ensemble has no curves of its own" in page and 'id="diagnosis"' not in page
    assert not Path("out/diagnosis.json").exists()
    compared = json.loads(cli("compare", "out", "same", "--json").stdout)
    assert {run["strategy"] for run in compared["runs"]} == {"ensemble: cross_validation", "stage_probe"}
    refused = cli("diagnose", "out", "--apply", "better.yaml", code=1).stderr
    assert "out is an ensemble, which has no curves of its own" in refused
    assert f"RUN is one of {probe_run}, {Path('same').resolve()}." in refused
    assert not Path("better.yaml").exists()


def test_a_member_that_was_trained_for_it_is_named(cli: Command, probe_run: Path, tmp_path: Path) -> None:
    for folder in ("members/seed-1", "members/seed-2"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "recipe.yaml").touch()
    (tmp_path / "plan.json").write_text(json.dumps({"runs": [str(probe_run)]}))
    members = f"{probe_run}, {tmp_path}/members/seed-1, {tmp_path}/members/seed-2."
    assert members in cli("diagnose", tmp_path, code=1).stderr
    (tmp_path / "plan.json").write_text("{")
    assert "plan.json is damaged" in cli("diagnose", tmp_path, code=1).stderr


@pytest.mark.parametrize("command", ["report", "compare", "predict", "evaluate", "export", "diagnose"])
def test_help_says_whether_an_ensemble_is_taken(cli: Command, command: str) -> None:
    said = " ".join(cli(command, "--help").stdout.split())
    assert ("no ensemble" in said) == (command == "diagnose") and "ensemble" in said


def test_mistakes(cli: Command, probe_run: Path) -> None:
    cli("ensemble", probe_run, "--kind", "magic", code=2)
    assert "says nothing of an ensemble" in cli("ensemble", probe_run, code=1).stderr
    assert "would be identical" in cli("ensemble", probe_run, "--kind", "seeds", code=1).stderr
    assert "There is no run folder nowhere" in cli("ensemble", "nowhere", "--kind", "seeds", code=1).stderr
    wrong = cli("ensemble", probe_run, "--kind", "cross_validation", "--set", "seed=3", code=1).stderr
    assert "seed: is no key of `ensemble`" in wrong
    wrong = cli("ensemble", probe_run, "--kind", "cross_validation", "--set", "ensemble.start=1", code=1).stderr
    assert "ensemble.start" in wrong
    wrong = cli("ensemble", probe_run, "--set", "ensemble.kind=soup", code=1).stderr
    assert "soup is removed" in wrong and "choose seeds, cross_validation or checkpoints" in wrong
