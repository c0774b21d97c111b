"""A compiled network trains as the plain one does, and its files are those of the plain one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune_advisor.errors import Interrupted, RunError
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.plan import plan_run
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe, StopAt

IMAGES = {"train/ants": 8, "train/bees": 8, "test/ants": 3, "test/bees": 3}
SETTINGS = (
    "backbone.name=nin",
    "preprocessing.size=32",
    "strategy.cached_views=null",
    "runtime.cache_mib=null",
    "budget.epochs=2",
    "optimizer.batch=5",
    "optimizer.lr=0.02",
    "averaging={kind: ema}",
    "regularization=null",
)
"""13 training images: two batches of five and one of three. A compiled network draws other dice for dropout."""

Asked = Callable[..., Recipe]


@pytest.fixture
def asked(image_folder: ImageFolder, recipe: MakeRecipe) -> Asked:
    return partial(recipe, "many_layers", image_folder(IMAGES), *SETTINGS)


@pytest.fixture
def own_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch compiles is not found from an earlier test, and not left behind."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "programs"))
    torch.compiler.reset()


def answers(run: RunDir) -> list[float]:
    return [answer.probability for answer in run.load_predictions(run.load_metrics())]


def assert_trains_as_plain(asked: Asked, folder: Path, stop_at: type[StopAt]) -> None:
    plain, run = train(asked(), RunDir(folder / "plain")), RunDir(folder / "compiled")
    with pytest.raises(Interrupted):
        train(asked("runtime.compile=true"), run, watcher=stop_at(4))
    train(load_recipe(run.recipe), run, resume=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    assert answers(run) == pytest.approx(answers(plain), abs=1e-4)
    for ours, theirs in zip(run.load_history(), plain.load_history(), strict=True):
        assert (ours.train_loss, ours.val_loss) == pytest.approx((theirs.train_loss, theirs.val_loss), abs=1e-4)
    for file in ("checkpoints/last.safetensors", "checkpoints/best.safetensors", "model/model.safetensors"):
        assert load_file(run.path / file).keys() == load_file(plain.path / file).keys()


def test_a_compiled_network_trains_as_the_plain_one_and_resumes(
    asked: Asked, own_programs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: type[StopAt]
) -> None:
    """Without the compiler of C++: the graphs that torch would give it are run as they are."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    assert_trains_as_plain(asked, tmp_path, stop_at)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="there is no C++ compiler, which torch.compile needs"
)
def test_so_does_one_that_is_compiled_to_machine_code(
    asked: Asked, own_programs: None, tmp_path: Path, stop_at: type[StopAt]
) -> None:
    assert_trains_as_plain(asked, tmp_path, stop_at)


def test_without_a_compiler_it_says_how_to_go_on(asked: Asked, own_programs: None, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(RunError, match=r"torch\.compile does not get along with nin here: .*ompiler") as caught,
    ):
        train(asked("runtime.compile=true"), run)
    assert caught.value.hint is not None
    assert f"runtime.compile to false in {run.recipe}" in caught.value.hint
    run.recipe.write_text(run.recipe.read_text().replace("compile: true", "compile: false"))
    assert train(load_recipe(run.recipe), run, resume=True).finished


def test_a_plan_compiles_nothing_and_times_the_plain_steps(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    assert plan_run(asked("runtime.compile=true"), device="cpu").seconds
