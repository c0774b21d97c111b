"""Independent runs, here and on a local Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune_advisor.errors import RunError
from finetune_advisor.recipes.load import change_recipe, load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows import parallel as many
from finetune_advisor.workflows.parallel import Job, train_all
from tests.conftest import ImageFolder

SETTINGS = (
    "backbone.name=mobilenetv3_small_050",
    "backbone.weights=random",
    "preprocessing.size=32",
    "runtime.workers=0",
    "budget.epochs=1",
    "optimizer.batch=8",
    "strategy.cached_views=null",
    "runtime.cache_mib=null",
)


@pytest.fixture
def first(image_folder: ImageFolder, tmp_path: Path) -> tuple[Recipe, RunDir]:
    made = load_recipe("few_layers", [f"data.path={image_folder({'ants': 10, 'bees': 10})}", *SETTINGS])
    return made, train(made, RunDir(tmp_path / "first"))


def jobs(first: tuple[Recipe, RunDir], folder: Path) -> list[Job]:
    recipe, run = first
    return [Job(change_recipe(recipe, {"seed": seed}), folder / f"seed-{seed}", run.splits) for seed in (1, 2)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(RunDir(folder).model / "model.safetensors")
    return found


def test_what_is_finished_is_not_trained_again(
    first: tuple[Recipe, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = jobs(first, tmp_path)
    train_all(asked[:1], device="cpu", watcher=Watcher())
    trained: list[str] = []

    def counting(recipe: Recipe, run: RunDir, **how: Any) -> RunDir:
        trained.append(run.path.name)
        return train(recipe, run, **how)

    monkeypatch.setattr(many, "train", counting)
    runs = train_all(asked, device="cpu", watcher=Watcher())
    assert trained == ["seed-2"]
    assert [run.path.name for run in runs] == ["seed-1", "seed-2"] and all(run.finished for run in runs)


def test_what_is_wrong_with_the_images_is_said_once_for_all_runs(
    image_folder: ImageFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = image_folder({"train/ants": 10, "train/bees": 10, "test/ants": 3, "test/bees": 3})
    (data / "train" / "ants" / "empty.png").touch()
    recipe = load_recipe("few_layers", [f"data.path={data}", *SETTINGS])
    first = train(recipe, RunDir(tmp_path / "first"))
    for folder in ("now", "later"):
        caplog.clear()
        train_all(jobs((recipe, first), tmp_path / folder), device="cpu", watcher=Watcher())
        said = [record.message for record in caplog.records if record.name == "finetune_advisor.dataset"]
        assert sum("left out: train/ants/empty.png" in message for message in said) == 1


def test_without_ray_one_is_told_what_to_install(
    first: tuple[Recipe, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="Ray is not installed") as caught:
        train_all(jobs(first, tmp_path), device="cpu", watcher=Watcher(), on_ray=True)
    assert "pip install ray" in str(caught.value.hint)


@pytest.fixture
def local_cluster() -> Iterator[None]:
    ray: Any = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::ray", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_on_ray_the_same_networks_come_out_and_what_fails_is_told(
    first: tuple[Recipe, RunDir], tmp_path: Path, local_cluster: None
) -> None:
    train_all(jobs(first, tmp_path / "here"), device="cpu", watcher=Watcher())
    asked = jobs(first, tmp_path / "ray")
    runs = train_all(asked, device="cpu", watcher=Watcher(), on_ray=True)
    assert all(run.finished for run in runs)
    for name in ("seed-1", "seed-2"):
        here, there = weights(tmp_path / "here" / name), weights(tmp_path / "ray" / name)
        assert max(float((here[each] - there[each]).abs().max()) for each in here) < 1e-4
    taken = tmp_path / "taken"
    (taken / "something").mkdir(parents=True)
    with pytest.raises(RunError, match="taken: "):
        train_all([Job(first[0], taken, first[1].splits)], device="cpu", watcher=Watcher(), on_ray=True)
