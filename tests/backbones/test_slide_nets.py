"""The networks of the slides have the sizes that the slides write down, and work like any other backbone.

Shapes: B batch, C channels, H and W pixels.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from typer.testing import CliRunner

import finetune_advisor  # noqa: F401 - registers the networks
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.from_scratch.slide_nets import SIDES, Joined, PlainNet, Pyramid
from finetune_advisor.backbones.sizing import sizing_remarks
from finetune_advisor.backbones.stages import record_calls, stages_of
from finetune_advisor.cli import app
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder

NARROW = 1 / 32


def narrow(name: str) -> PlainNet:
    net = timm.create_model(name, num_classes=10, width=NARROW)
    assert isinstance(net, PlainNet)
    return net.eval()


def sides(name: str) -> list[int]:
    """Height of the map after each convolution and pooling, of an image as large as on the slide."""
    net = narrow(name)
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    calls = record_calls(net, torch.zeros(1, 3, SIDES[name], SIDES[name]))
    return [c.output.shape[2] for c in calls if isinstance(net.get_submodule(c.path), kinds) and "neck" not in c.path]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nin", [32, 32, 32, 16, 16, 16, 16, 8, 8, 8, 8]),
        ("ndsb_spp", [70, 70, 35, 35, 35, 35, 17, *[17] * 7, 8, 8]),
        ("prelu_small", [109, 36, 37, 36, 37, 36, 18, 19, 18, 19, 18, 19, 18]),
        ("prelu_large", [112, 56, *[56] * 5, 28, *[28] * 5, 14, *[14] * 5]),
        ("plain22", [112, 56, *[56] * 6, 28, *[28] * 6, 14, *[14] * 6]),
    ],
)
def test_maps_are_as_large_as_in_the_table(name: str, expected: list[int]) -> None:
    assert sides(name) == expected


@pytest.mark.parametrize(("name", "depth"), [("nin", 9), ("prelu_small", 14), ("prelu_large", 19), ("plain22", 22)])
def test_they_are_as_deep_as_they_are_called(name: str, depth: int) -> None:
    assert sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in narrow(name).modules()) == depth


def test_channels_of_nin_and_of_the_two_branches_are_the_slides() -> None:
    net = build("nin", "random", classes=10).net
    convolutions = [(m.kernel_size[0], m.out_channels) for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [
        *((5, 192), (1, 160), (1, 96), (5, 192), (1, 192), (1, 192)),
        *((3, 192), (1, 192), (1, 10)),
    ]
    ways = Joined([nn.Conv2d(3, 96, 3, padding=1), nn.Conv2d(3, 96, 1)])
    assert ways(torch.zeros(1, 3, 17, 17)).shape == (1, 192, 17, 17)
    [joined] = [module for module in narrow("ndsb_spp").modules() if isinstance(module, Joined)]
    assert [sum(isinstance(m, nn.Conv2d) for m in way.modules()) for way in joined.ways] == [4, 3]


def test_the_pyramid_takes_the_largest_value_of_each_cell() -> None:
    x_BCHW = torch.arange(16.0).view(1, 1, 4, 4)
    assert Pyramid((2, 1))(x_BCHW).tolist() == [[5.0, 7.0, 13.0, 15.0, 15.0]]


@pytest.mark.parametrize("name", SIDES)
def test_every_parameter_is_in_one_stage_and_the_last_one_holds_the_classes(name: str) -> None:
    net = narrow(name)
    stages = stages_of(net, (3, SIDES[name], SIDES[name]))
    assert stages[0].name == "stem" and stages[-1].name == "head"
    assert sorted(p for stage in stages for p in stage.parameters) == sorted(n for n, _ in net.named_parameters())
    assert "classifier.weight" in stages[-1].parameters


def test_what_the_slides_do_against_their_own_rules_is_said() -> None:
    remarks = sizing_remarks(build("ndsb_spp", "random", size=70))
    assert any("70 pixels do not divide evenly" in remark for remark in remarks)
    assert any("pools by 3 x 3" in remark for remark in remarks)


@pytest.mark.parametrize("activation", ["null", "{kind: prelu}"])
def test_nin_trains_from_scratch_and_its_model_opens(
    image_folder: ImageFolder, tmp_path: Path, activation: str
) -> None:
    from finetune_advisor.recipes.load import load_recipe

    data = image_folder({"ants": 6, "bees": 6})
    edits = (f"data.path={data}", "backbone.name=nin", "preprocessing.size=32", "budget.epochs=1", "optimizer.batch=5")
    recipe = load_recipe("from_scratch", [*edits, "runtime.workers=0", f"backbone.activation={activation}"])
    run = train(recipe, RunDir(tmp_path / "run"))
    predictor = Predictor.open(run)
    assert predictor.probabilities([data / "ants" / "000.png"], workers=0).shape == (1, 2)
    assert "outputs vary by" in run.log.read_text()


def test_the_command_lists_them_as_random(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = json.loads(CliRunner().invoke(app, ["backbones", "--json"]).stdout)
    assert {item["name"] for item in listed if item["source"] == "random"} == set(SIDES)
