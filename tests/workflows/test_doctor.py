"""The examination says what is there and what would go wrong, and changes nothing."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from finetune_advisor.backbones import hub, weights
from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import dump_recipe, load_recipe
from finetune_advisor.storage.files import cache_root
from finetune_advisor.workflows.doctor import LEAST_SPACE, Examination, examine


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "why_unreachable", lambda: "no route to it")
    monkeypatch.chdir(tmp_path)


def facts(found: Examination) -> dict[str, str]:
    return {fact.name: fact.value for fact in found.facts}


def written(tmp_path: Path, name: str, *overrides: str) -> Path:
    target = tmp_path / "recipe.yaml"
    target.write_text(dump_recipe(load_recipe(name, overrides)))
    return target


def test_versions_devices_places_and_weights_are_told(tmp_path: Path) -> None:
    found = examine()
    told = facts(found)
    assert torch.__version__.partition("+")[0] in told["packages"]
    assert told["cache"].startswith(str(cache_root()))
    assert told["runs"].startswith(str(tmp_path))
    assert told["hub"] == "offline: no route to it"
    assert "efficientnet_lite0" in told["weights"]
    assert "usable cores" in told["cpu"]
    assert not found.blocked
    assert list(tmp_path.iterdir()) == []


def test_wheels_that_do_not_belong_together_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, *rest: Any) -> Any:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist\nand more")
        return imported(name, *rest)

    imported = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", broken)
    found = examine()
    assert found.blocked
    assert "operator torchvision::nms does not exist" in found.troubles[-1].what
    assert "weights" not in facts(found)


def test_a_driver_without_a_gpu_in_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi" if name == "nvidia-smi" else None)
    found = examine()
    assert any("NVIDIA driver" in trouble.what for trouble in found.troubles)
    assert "runtime.compile" in facts(found)["compiler"]
    assert not found.blocked


def test_a_full_disk_and_a_place_that_cannot_be_written_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(LEAST_SPACE, 1, LEAST_SPACE - 1))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    told = [trouble.what for trouble in examine().troubles]
    assert sum("nearly full" in what for what in told) == 2
    assert any("a part of the path is a file" in what for what in told)


def test_without_weights_and_hub_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "available", tuple)
    found = examine()
    assert found.blocked
    assert found.troubles[-1].what.startswith("No pretrained weights")


def test_a_recipe_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    fine = examine(written(tmp_path, "linear_probe"))
    assert facts(fine)["recipe"].startswith("linear_probe of")
    (tmp_path / "data").rmdir()
    gone = examine(written(tmp_path, "linear_probe"))
    assert gone.blocked
    assert "images are not there" in gone.troubles[-1].what
    missing = examine(written(tmp_path, "linear_probe", "backbone.weights=gone.safetensors"))
    assert "gone.safetensors" in missing.troubles[-1].what


def test_sizes_of_a_network_from_scratch_are_checked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    odd = examine(written(tmp_path, "from_scratch", "preprocessing.size=225"))
    assert any("do not divide evenly" in trouble.what for trouble in odd.troubles)
    assert not odd.blocked


def test_a_recipe_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("strategy: [")
    with pytest.raises(RecipeError):
        examine(tmp_path / "bad.yaml")
