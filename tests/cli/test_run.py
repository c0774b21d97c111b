"""`finetune-advisor run`, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_advisor.cli.console import Bars
from finetune_advisor.recipes.load import baseline_recipes, load_recipe
from finetune_advisor.records.rundir import RunDir
from tests.cli.conftest import Command
from tests.conftest import ImageFolder

PLAIN = {"ants": 8, "bees": 8}
SHORT = ("--set", "budget.epochs=2", "--set", "optimizer.batch=8")


@pytest.fixture
def data(image_folder: ImageFolder) -> list[str]:
    return ["--set", f"data.path={image_folder(PLAIN)}"]


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    def show(self: Bars, name: str, done: int, total: int, note: str = "") -> None:
        if name == "training" and done == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Bars, "show", show)


def test_runs_are_numbered_and_end_with_the_next_command(cli: Command, tiny: list[str], data: list[str]) -> None:
    for number in (1, 2):
        result = cli("run", "linear_probe", *tiny, *data)
        assert f"runs/linear_probe-{number}/" in result.stdout
        assert f"finetune-advisor predict runs/linear_probe-{number} IMAGES" in result.stdout
        assert "strength" in result.stderr
        assert Path(f"runs/linear_probe-{number}/metrics.json").is_file()


def test_a_run_whose_recipe_wants_an_ensemble_says_which_command_makes_it(
    cli: Command, tiny: list[str], image_folder: ImageFolder
) -> None:
    images = image_folder({f"{split}/{name}": 4 for split in ("train", "test") for name in PLAIN})
    data, wanted = ["--set", f"data.path={images}"], ["--set", "ensemble.kind=cross_validation"]
    result = cli("run", "linear_probe", *tiny, *data, *wanted)
    assert (
        "finetune-advisor ensemble runs/linear_probe-1  makes the recipe's ensemble: cross_validation" in result.stdout
    )
    page = Path("runs/linear_probe-1/report.html").read_text(encoding="utf-8")
    assert "finetune-advisor ensemble runs/linear_probe-1" in page
    assert "finetune-advisor ensemble" not in cli("run", "linear_probe", *tiny, *data).stdout
    made = cli("ensemble", "runs/linear_probe-1")
    assert "best single" in made.stdout
    page = Path("runs/linear_probe-1-cross_validation/report.html").read_text(encoding="utf-8")
    assert "finetune-advisor ensemble runs" not in page


def test_a_class_without_test_images_keeps_its_row(cli: Command, tiny: list[str], image_folder: ImageFolder) -> None:
    counts = {f"train/{name}": 6 for name in ("ants", "bees", "wasps")} | {"test/ants": 4, "test/bees": 4}
    data = image_folder(counts)
    (data / "test" / "wasps").mkdir()
    shown = cli("run", "linear_probe", *tiny, "--set", f"data.path={data}").stdout
    [row] = [line for line in shown.splitlines() if "wasps" in line]
    assert "no test images" in row
    page = Path("runs/linear_probe-1/report.html").read_text(encoding="utf-8")
    assert "<bdi>wasps</bdi>" in page and "no test images" in page
    [row] = [line for line in cli("evaluate", "runs/linear_probe-1", data).stdout.splitlines() if "wasps" in line]
    assert "no images" in row


def test_json_is_one_document(cli: Command, tiny: list[str], data: list[str]) -> None:
    document = json.loads(cli("run", "linear_probe", *tiny, *data, "--json", "--run-dir", "out").stdout)
    assert document["run"] == "out"
    assert document["val"]["accuracy"] == 1
    files = {name: json.loads(Path(f"out/{name}.json").read_text()) for name in ("metrics", "diagnosis")}
    assert {"run": "out", **files["metrics"], "diagnosis": files["diagnosis"]} == document


def test_quiet_prints_nothing(cli: Command, tiny: list[str], data: list[str]) -> None:
    result = cli("run", "few_layers", *tiny, *data, *SHORT, "--quiet", "--run-dir", "out")
    assert result.output == ""
    assert cli("run", "--resume", "--run-dir", "out", "--quiet").output == ""


def test_epochs_are_told_on_stderr(cli: Command, tiny: list[str], data: list[str]) -> None:
    result = cli("run", "few_layers", *tiny, *data, *SHORT)
    assert result.stderr.count("train loss") == 2
    assert "val (held out)" in result.stdout
    shown = [line.strip() for line in result.stderr.splitlines() if "train loss" in line]
    log = Path("runs/few_layers-1/run.log").read_text()
    assert all(line in log for line in shown), "and in the log, in the same words"
    assert cli("run", "few_layers", *tiny, *data, *SHORT, "--verbose").stderr.count("train loss") == 2, "once"


def test_ctrl_c_says_how_to_go_on_and_that_works(
    cli: Command, tiny: list[str], data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, 3)
        stopped = cli("run", "few_layers", *tiny, *data, *SHORT, "--run-dir", "my runs/a", code=130)
    assert "Stopped by SIGINT after step 3 of 4; the state is saved" in stopped.stderr
    assert "finetune-advisor run --run-dir 'my runs/a' --resume" in stopped.stderr
    assert stopped.stdout == ""
    refused = cli("run", "few_layers", *tiny, *data, "--run-dir", "my runs/a", code=1)
    assert "--run-dir 'my runs/a' --resume" in refused.stderr
    assert "2.0" in cli("run", "--run-dir", "my runs/a", "--resume").stderr
    assert len(Path("my runs/a/history.jsonl").read_text().splitlines()) == 2


def test_resume_takes_the_latest_run_and_a_finished_one_is_done(
    cli: Command, tiny: list[str], data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, 1)
        cli("run", "few_layers", *tiny, *data, *SHORT, code=130)
    document = json.loads(cli("run", "--resume", "--json").stdout)
    assert document["run"] == "runs/few_layers-1"
    history = Path("runs/few_layers-1/history.jsonl").read_bytes()
    assert "nothing left to do" in cli("run", "--resume").stderr
    assert json.loads(cli("run", "--resume", "--json").stdout) == document, "scripts get the same answer again"
    assert Path("runs/few_layers-1/history.jsonl").read_bytes() == history


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--resume"], "There is no run in runs/", "--run-dir"),
        (["--resume", "--run-dir", "nowhere"], "nowhere holds no run to go on with", "--run-dir"),
        (
            ["few_layers", "--resume", "--run-dir", "runs/empty"],
            "takes the recipe and its analysis from the run folder",
            "start a new run",
        ),
        (
            ["--resume", "--set", "seed=3", "--run-dir", "runs/empty"],
            "takes the recipe and its analysis from the run folder",
            "start a new run",
        ),
        (
            ["--resume", "--seed", "3", "--run-dir", "runs/empty"],
            "takes the recipe and its analysis from the run folder",
            "start a new run",
        ),
        (
            ["--resume", "--profile", "profile.json", "--run-dir", "runs/empty"],
            "takes the recipe and its analysis from the run folder",
            "start a new run",
        ),
        ([], "There is no recipe.yaml here", "finetune-advisor analyze DATA"),
        (["nowhere.yaml"], "nowhere.yaml", "recipes list"),
        (["few_layer"], "did you mean 'few_layers'", ""),
    ],
)
def test_nothing_to_run(cli: Command, arguments: list[str], says: str, hint: str) -> None:
    Path("runs/empty").mkdir(parents=True)
    error = cli("run", *arguments, code=1).stderr
    assert says in error
    assert hint in error


@pytest.mark.parametrize(
    "arguments",
    [["--sett", "a=b"], ["a", "b"], ["--device", "abacus"], ["--seed", "-1"], ["--seed", str(2**32)], ["--set"]],
)
def test_usage_errors_exit_with_2(cli: Command, arguments: list[str]) -> None:
    assert "Error" in cli("run", *arguments, code=2).stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there(cli: Command, tiny: list[str], data: list[str]) -> None:
    error = cli("run", "linear_probe", *tiny, *data, "--device", "cuda", code=1).stderr
    assert "There is no cuda device here; found: cpu" in error
    assert not Path("runs").exists()


def test_a_run_folder_that_is_taken(cli: Command, tiny: list[str], data: list[str]) -> None:
    Path("thesis").mkdir()
    Path("thesis/draft.txt").write_text("years of work")
    error = cli("run", "linear_probe", *tiny, *data, "--run-dir", "thesis", code=1).stderr
    assert "thesis is not empty and is not a run" in error
    assert "Choose another --run-dir" in error
    assert [path.name for path in Path("thesis").iterdir()] == ["draft.txt"]
    assert "is a file" in cli("run", "linear_probe", *tiny, *data, "--run-dir", "thesis/draft.txt", code=1).stderr


def test_seed_and_set_reach_the_saved_recipe(cli: Command, tiny: list[str], data: list[str]) -> None:
    cli("run", "linear_probe", *tiny, *data, "--seed", 7, "--set", "strategy.folds=3", "--run-dir", "out")
    saved = load_recipe(Path("out/recipe.yaml"))
    assert (saved.seed, saved.strategy.model_dump()["folds"]) == (7, 3)
    cli("run", "out/recipe.yaml", "--run-dir", "again")
    metrics = [{**json.loads(Path(f"{run}/metrics.json").read_text()), "seconds": None} for run in ("out", "again")]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("base", ["linear_probe", "stage_probe", "few_layers", "many_layers"])
def test_a_dry_run_shows_the_plan_and_leaves_nothing(cli: Command, tiny: list[str], data: list[str], base: str) -> None:
    short = SHORT if base.endswith("layers") else ()
    plan = json.loads(cli("run", base, *tiny, *data, *short, "--dry-run", "--json").stdout)
    assert plan["strategy"] == base
    assert sum(plan["images"].values()) == 16
    assert plan["steps"] == (4 if short else None)
    assert "Nothing was trained" in cli("run", base, *tiny, *data, *short, "--dry-run").stdout
    assert not any(Path().iterdir())


@pytest.mark.parametrize("name", baseline_recipes())
def test_a_baseline_can_be_planned_as_it_is(cli: Command, tiny: list[str], data: list[str], name: str) -> None:
    plan = json.loads(cli("run", name, *tiny, *data, "--dry-run", "--json").stdout)
    assert plan["strategy"] == load_recipe(name).strategy.kind


def test_a_dry_run_counts_every_parameter_once(cli: Command, tiny: list[str], data: list[str]) -> None:
    from finetune_advisor.backbones.build import build

    plan = json.loads(cli("run", "few_layers", *tiny, *data, *SHORT, "--dry-run", "--json").stdout)
    net = build("mobilenetv3_small_050", "random", classes=2, size=64).net
    assert sum(group["parameters"] for group in plan["groups"]) == sum(p.numel() for p in net.parameters())
    rates = {group["name"]: group["lr"] for group in plan["groups"]}
    assert rates["head"] == pytest.approx(10 * rates["body"])
    assert rates["frozen"] is None


def test_a_dry_run_says_when_each_group_begins_to_train(cli: Command, tiny: list[str], data: list[str]) -> None:
    more = ("--set", "strategy.stages=3", "--set", "budget.epochs=3", "--set", "optimizer.batch=8")
    command = ("run", "gradual_unfreezing", *tiny, *data, *more, "--dry-run")
    groups = json.loads(cli(*command, "--json").stdout)["groups"]
    starts = {group["name"]: group["trains_after_epoch"] for group in groups if group["decays"]}
    assert list(starts.values()) == [0, 1, 1, 1, 2], starts
    assert groups[-1]["name"] == "frozen" and groups[-1]["trains_after_epoch"] is None
    shown = cli(*command).stdout.splitlines()
    for name, start in starts.items():
        [row] = [line for line in shown if line.split()[:1] == [name]]
        assert row.rstrip().endswith(f"from epoch {start + 1}" if start else "from the start")
    assert any(line.split()[:1] == ["frozen"] and line.rstrip().endswith("never") for line in shown)


def test_the_folder_is_announced_when_it_is_there(cli: Command, tiny: list[str], data: list[str]) -> None:
    assert "run folder" not in cli("run", "few_layers", *tiny, "--set", "data.path=nowhere", code=1).stderr
    assert "run folder: runs/linear_probe-1" in cli("run", "linear_probe", *tiny, *data).stderr


def test_a_page_that_is_missing_is_written_by_resume(cli: Command, tiny: list[str], data: list[str]) -> None:
    cli("run", "linear_probe", *tiny, *data, "--run-dir", "out")
    metrics, figure = Path("out/metrics.json").read_bytes(), Path("out/report.html")
    figure.unlink()
    assert "predict out IMAGES" in cli("run", "--resume", "--run-dir", "out").stdout
    assert figure.is_file()
    assert Path("out/metrics.json").read_bytes() == metrics
    assert "nothing left to do" in cli("run", "--resume", "--run-dir", "out").stderr


def test_a_live_run_is_neither_resumed_nor_overwritten(
    cli: Command, tiny: list[str], data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, 1)
        cli("run", "few_layers", *tiny, *data, *SHORT, "--run-dir", "out", code=130)
    with RunDir(Path("out")).locked():
        for arguments in (["--resume"], ["few_layers", *tiny, *data, *SHORT]):
            error = cli("run", *arguments, "--run-dir", "out", code=1).stderr
            assert f"another process is writing this run (pid {os.getpid()})" in error
    cli("run", "--resume", "--run-dir", "out")


def test_a_run_keeps_the_analysis_wherever_it_lies(cli: Command, image_folder: ImageFolder) -> None:
    images = image_folder({"ants": 6, "bees": 6})
    cli("analyze", images, "--report-dir", "report")
    cli("run", "--run-dir", "without")
    assert not Path("without/profile.json").exists()
    cli("run", "--profile", "report/profile.json", "--run-dir", "with")
    assert Path("with/profile.json").read_bytes() == Path("report/profile.json").read_bytes()


def test_an_analysis_of_other_images_is_refused(
    cli: Command, tiny: list[str], data: list[str], image_folder: ImageFolder
) -> None:
    cli("analyze", image_folder({"cats": 6, "dogs": 6}, name="others"), "--quiet")
    error = cli("run", "linear_probe", *tiny, *data, "--profile", "analysis/profile.json", code=1).stderr
    assert "analysis/profile.json is the analysis of" in error
    assert "leave out --profile" in error
    assert "There is no profile at" in cli("run", "linear_probe", *tiny, *data, "--profile", "gone", code=1).stderr
    assert not Path("runs").exists()


def test_a_run_folder_whose_name_looks_like_markup(cli: Command, tiny: list[str], data: list[str]) -> None:
    result = cli("run", "linear_probe", *tiny, *data, "--run-dir", "[red]x[/red]/[/]")
    assert "run folder: [red]x[/red]/[/]" in result.stderr
    assert "predict '[red]x[/red]/[/]' IMAGES" in result.stdout
    assert "[red]x[/red]/[/] is finished" in cli("run", "--run-dir", "[red]x[/red]/[/]", "--resume").stderr


def test_a_bad_image_is_told_once(cli: Command, tiny: list[str], image_folder: ImageFolder) -> None:
    folder = image_folder(PLAIN)
    (folder / "ants" / "000.png").write_bytes(b"")
    result = cli("run", "linear_probe", *tiny, "--set", f"data.path={folder}")
    assert result.stderr.count("left out: ants/000.png: the file is empty") == 1


SLOW_STEPS = """
import signal, sys, time
from finetune_advisor.cli import main
from finetune_advisor.cli.console import Bars

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

def show(self, name, done, total, note=""):
    print(name, flush=True)
    time.sleep(0.3)

Bars.show = show
main()
"""


def interrupted(arguments: list[str], *, when: str, number: signal.Signals = signal.SIGINT) -> Any:
    """Start a real process, press Ctrl-C (or what `number` says) as soon as it says `when`, and wait for its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_STEPS, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == when:
            process.send_signal(number)
            break
    _, error = process.communicate(timeout=60)
    return process.returncode, error


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_ctrl_c_in_a_real_process_saves_the_run(
    cli: Command, tiny: list[str], data: list[str], number: signal.Signals
) -> None:
    code, error = interrupted(["run", "few_layers", *tiny, *data, *SHORT], when="training", number=number)
    assert (code, "--resume" in error) == (130, True), error
    assert "Traceback" not in error
    assert not Path("runs/few_layers-1/metrics.json").exists()
    cli("run", "--run-dir", "runs/few_layers-1", "--resume")
    assert len(Path("runs/few_layers-1/history.jsonl").read_text().splitlines()) == 2


@BOTH
def test_ctrl_c_during_analyze_leaves_no_recipe(
    cli: Command, image_folder: ImageFolder, number: signal.Signals
) -> None:
    code, error = interrupted(
        ["analyze", str(image_folder(PLAIN, seed=307))], when="looking at the images", number=number
    )
    assert code == 130, error
    assert f"stopped by {'SIGTERM' if number == signal.SIGTERM else 'Ctrl-C'}" in error
    assert "Traceback" not in error
    assert not any(Path().iterdir())


def test_sigterm_ends_a_forked_process_as_ever() -> None:
    script = """
import os, signal, time
from finetune_advisor.training.interrupt import sigterm_as_ctrl_c
sigterm_as_ctrl_c()
if (child := os.fork()) == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)
print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (ended.stdout.strip(), ended.stderr) == (str(int(signal.SIGTERM)), "")


def test_find_lr_draws_a_picture_and_keeps_nothing_else(cli: Command, tiny: list[str], new_images: Path) -> None:
    options = ["--set", f"data.path={new_images}", "--set", "optimizer.batch=2", *tiny, "--find-lr"]
    found = json.loads(cli("run", "few_layers", *options, "--json").stdout)
    assert len(found["rates"]) == len(found["losses"]) > 5
    assert found["suggestion"] is None or 1e-6 <= found["suggestion"] <= 10
    assert [path.name for path in Path().iterdir()] == ["lr-few_layers.svg"] == [found["picture"]]
    assert "no run folder" in cli("run", "few_layers", *options, "--resume", code=1).stderr
