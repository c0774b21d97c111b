"""What every technique keeps, so that a new one is tested by being in its family's registry.

Shapes: B images, C channels, H x W pixels, K classes, D features.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from finetune_advisor.loading.batches import Batch
from finetune_advisor.recipes.load import dump_recipe, load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.reporting.technique_page import technique_page
from finetune_advisor.techniques.activation import Activation, Relu
from finetune_advisor.techniques.augmentation import Context
from finetune_advisor.techniques.base import Colors, Technique, documentation, remarks, summary
from finetune_advisor.techniques.catalog import catalog, families, kind_of
from finetune_advisor.techniques.initialization import Fitted
from finetune_advisor.techniques.preprocessing import Preprocessing
from finetune_advisor.techniques.regularization import Weights
from finetune_advisor.techniques.strategy import Probe
from finetune_advisor.training.data_feed import PairMixing

TECHNIQUES = [(family, technique) for family, group in families().items() for technique in group]


def each(techniques: list[tuple[str, type[Technique]]]) -> pytest.MarkDecorator:
    names = [f"{family}-{kind_of(technique)}" for family, technique in techniques]
    return pytest.mark.parametrize(("family", "technique"), techniques, ids=names)


EVERY = each(TECHNIQUES)
TRAINED = each([(family, technique) for family, technique in TECHNIQUES if not issubclass(technique, Probe)])
SIZE, CLASSES = 32, 3
REPOSITORY = Path(__file__).parents[2]
COLORS = Colors((0.5, 0.5, 0.5), ((0.08, 0.0, 0.0), (0.0, 0.08, 0.0), (0.0, 0.0, 0.08)))


def recipe_with(family: str, technique: type[Technique]) -> Recipe:
    """A shipped recipe in which one technique, at its defaults, takes its family's place."""
    value: Any = technique.model_validate({}).model_dump()
    if issubclass(technique, Preprocessing) and not technique.suits_pretrained:
        return Recipe.model_validate({**load_recipe("from_scratch").model_dump(), "preprocessing": value})
    if family == "strategy":
        return Recipe.model_validate({**load_recipe(value["kind"]).model_dump(), "strategy": value})
    if family in ("augmentation", "regularization"):
        value = (value,)
    if family == "activation":
        head = {"initialization": {"kind": "he"}, "hidden": 5, "activation": value}
        return Recipe.model_validate({**load_recipe("few_layers").model_dump(), "head": head})
    if family == "initialization":
        family, value = "head", {"initialization": value}
    if family == "ensembling":
        family = "ensemble"
    base = load_recipe("few_layers", ["strategy.cached_views=null"] if family == "mixing" else [])
    return Recipe.model_validate({**base.model_dump(), family: value})


def tiny_net(drop_rate: float, activation: Activation | None) -> nn.Sequential:
    activation = activation or Relu()
    convolution = nn.Conv2d(3, 4 * activation.inputs_per_unit, 3, stride=4)
    layers = [convolution, activation.module(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(drop_rate)]
    return nn.Sequential(*layers, nn.Linear(4, CLASSES))


def batch(recipe: Recipe) -> Batch:
    rng = np.random.default_rng(0)
    arrays = []
    for _ in range(8):
        image = Image.fromarray(rng.integers(0, 256, (40, 52, 3), dtype=np.uint8))
        for augmentation in recipe.augmentation or ():
            image = augmentation.apply(image, rng, Context(SIZE, COLORS))
        arrays.append(np.asarray(image.resize((SIZE, SIZE))))
    x_BCHW = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    made = Batch(0, 0, x_BCHW, torch.arange(8) % CLASSES, ("ants/1.png",) * 8, whole=8)
    return made if recipe.mixing is None else PairMixing(recipe.mixing, CLASSES, recipe.seed)(made)


def fitted(recipe: Recipe) -> Fitted | None:
    """A linear classifier for the tiny net, where the head starts from a fitted one."""
    assert recipe.head
    if not recipe.head.initialization.needs_features:
        return None
    rng = np.random.default_rng(0)
    weight_KD = torch.from_numpy(rng.normal(size=(CLASSES, 4)).astype(np.float32))
    return Fitted(weight_KD, torch.zeros(CLASSES))


def losses_around_a_step(recipe: Recipe) -> tuple[float, float]:
    """The loss before and after one step of training as the recipe says, with a net of its own."""
    assert recipe.head and recipe.loss and recipe.optimizer and recipe.schedule
    regularization = recipe.regularization or ()
    arguments = {key: value for technique in regularization for key, value in technique.model_arguments().items()}
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        net = tiny_net(arguments.get("drop_rate", 0.0), recipe.head.activation)
        generator = torch.Generator().manual_seed(recipe.seed)
        output = net[-1]
        assert isinstance(output, nn.Linear)
        recipe.head.initialization.fill(output.weight, output.bias, generator, fitted=fitted(recipe))
        made = batch(recipe)
        x_BCHW, target = made.inputs.float() / 255, made.target
        rate = recipe.optimizer.lr * recipe.schedule.multiplier(0.5)
        optimizer = recipe.optimizer.build([{"params": list(net.parameters()), "lr": rate}])
        before = recipe.loss.per_image(net(x_BCHW), target).mean()
        before.backward()
        named = {name: parameter for name, parameter in net.named_parameters() if parameter.ndim > 1}
        starts = [torch.zeros_like(parameter) for parameter in named.values()]
        weights = Weights(list(named), list(named.values()), starts=starts)
        for technique in regularization:
            technique.before_step(weights, lr=rate, progress=0.5)
        optimizer.step()
        for technique in regularization:
            technique.after_step(weights)
        after = recipe.loss.per_image(net(x_BCHW), target).mean()
    return before.item(), after.item()


@EVERY
def test_it_survives_model_yaml_model(family: str, technique: type[Technique], tmp_path: Path) -> None:
    recipe = recipe_with(family, technique)
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    assert load_recipe(file, as_written=True) == recipe


@EVERY
def test_it_says_what_it_does_where_it_is_from_and_what_each_key_means(family: str, technique: type[Technique]) -> None:
    assert 10 < len(summary(technique)) <= 110
    assert len(technique.source) > 10
    assert len(remarks(technique)) > 20, "its docstring does not say when to use it"
    for name in technique.model_fields:
        assert documentation(technique, name), f"{name} has no docstring"


@TRAINED
def test_training_with_it_moves_the_net_repeats_itself_and_stays_finite(
    family: str, technique: type[Technique]
) -> None:
    recipe = recipe_with(family, technique)
    before, after = losses_around_a_step(recipe)
    assert np.isfinite([before, after]).all()
    assert before != after
    assert losses_around_a_step(recipe) == (before, after)


def test_every_technique_is_in_a_registry() -> None:
    waiting: list[type[Technique]] = [Technique]
    kinds: set[type[Technique]] = set()
    while waiting:
        below = waiting.pop().__subclasses__()
        waiting += below
        kinds |= {each for each in below if "kind" in vars(each).get("__annotations__", {})}
    ours = {each for each in kinds if each.__module__.startswith("finetune_advisor.techniques.")}
    assert {kind_of(each) for each in ours} == {entry.kind for entry in catalog()}


def test_the_page_of_techniques_is_up_to_date() -> None:
    page = REPOSITORY / "docs" / "techniques.md"
    assert page.read_text(encoding="utf-8") == technique_page(), "write it again: make techniques"


def test_reading_a_recipe_never_loads_torch() -> None:
    code = (
        "import sys; from finetune_advisor.recipes.load import load_recipe, dump_recipe;"
        "dump_recipe(load_recipe('few_layers'));"
        "sys.exit(', '.join({'torch', 'torchvision', 'timm'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_catalog_gives_types_and_defaults_in_words() -> None:
    entries = {entry.kind: {key.name: key for key in entry.keys} for entry in catalog()}
    assert entries["adamw"]["body_lr_ratio"].type == "number > 0 and <= 1"
    assert entries["adamw"]["clip"].type == "number > 0 | null"
    assert entries["adamw"]["clip"].default is None
    assert entries["stage_probe"]["stages"].type == "all | list of text"
    assert entries["backbone"]["fit"].type == "crop | pad | stretch"
    assert entries["random_crop"]["scale"].type == "[number, number]"
