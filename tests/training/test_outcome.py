"""What a probe leaves behind says of an image what was scored."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_advisor.backbones.build import set_classifier
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training import results as outcome
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

SPLIT = {"train/ants": 6, "train/bees": 6, "test/ants": 3, "test/bees": 2}
DISTILLED = ("backbone.name=deit_tiny_distilled_patch16_224", "preprocessing.size=32")


@pytest.mark.parametrize(
    "settings",
    [("linear_probe",), ("stage_probe",), ("linear_probe", *DISTILLED), ("stage_probe", *DISTILLED)],
    ids=" ".join,
)
def test_the_exported_probe_predicts_what_was_scored(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    """Also where the network has two classifiers, of which a probe can be neither."""
    data = image_folder(SPLIT)
    run = train(recipe(settings[0], data, *settings[1:]), RunDir(tmp_path / "run"))
    with run.predictions.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    predictor = Predictor.open(run)
    probabilities_NK = predictor.probabilities([data / row["path"] for row in rows], workers=0)
    assert [predictor.classes[k] for k in probabilities_NK.argmax(axis=1)] == [row["prediction"] for row in rows]
    assert probabilities_NK.max(axis=1) == pytest.approx([float(row["probability"]) for row in rows], abs=1e-3)


def test_a_network_that_is_not_what_was_scored_is_not_left_behind(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(net: torch.nn.Module, weight_KD: torch.Tensor, bias_K: torch.Tensor) -> None:
        set_classifier(net, weight_KD, bias_K + torch.tensor([0.05, 0.0]))

    monkeypatch.setattr(outcome, "set_classifier", shifted)
    run = RunDir(tmp_path / "run")
    with pytest.raises(AssertionError, match="The exported mobilenetv3_small_050 is not what was scored"):
        train(recipe("linear_probe", image_folder(SPLIT), "strategy.strengths=[1]"), run)
    assert not run.model.exists()
    assert not run.finished


def test_images_that_vanished_since_they_were_measured_are_not_compared(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = image_folder(SPLIT)

    def vanishing(run: RunDir, probe: Any, prepared: Any, *, device: str) -> None:
        for path in Path(data).rglob("*.png"):
            path.unlink()
        outcome.save_probe(run, probe, prepared, device=device)

    monkeypatch.setattr("finetune_advisor.training.trainer.save_probe", vanishing)
    assert train(recipe("linear_probe", data), RunDir(tmp_path / "run")).finished
