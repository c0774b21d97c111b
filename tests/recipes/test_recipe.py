"""The recipe model: what a strategy needs and what it would ignore."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import load_recipe, shipped_recipes
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.rules import conflicts


@pytest.fixture
def probe() -> dict[str, Any]:
    return load_recipe("linear_probe").model_dump()


@pytest.fixture
def training() -> dict[str, Any]:
    return load_recipe("few_layers").model_dump()


@pytest.mark.parametrize("key", ["head", "augmentation", "loss", "regularization", "optimizer", "schedule", "budget"])
def test_a_probe_refuses_what_it_would_ignore(probe: dict[str, Any], training: dict[str, Any], key: str) -> None:
    sentence = f"linear_probe is fitted on clean features: `{key}` would be ignored"
    with pytest.raises(ValidationError, match=sentence):
        Recipe.model_validate({**probe, key: training[key]})


@pytest.mark.parametrize(
    ("block", "key", "value", "right"),
    [
        ("evaluation", "metric", "balanced_accuracy", "accuracy"),
        ("evaluation", "metric", "loss", "accuracy"),
        ("runtime", "precision", "bfloat16", "float32"),
    ],
)
def test_a_probe_refuses_a_value_that_would_change_nothing(
    probe: dict[str, Any], training: dict[str, Any], block: str, key: str, value: str, right: str
) -> None:
    [(found, sentence)] = conflicts({**probe, block: {**probe[block], key: value}})
    assert found == f"{block}.{key}"
    assert "linear_probe" in sentence and sentence.endswith(f"would be ignored; set it to {right}")
    assert conflicts({**training, block: {**training[block], key: value}}) == []


def test_a_probe_takes_class_weights(probe: dict[str, Any]) -> None:
    data = {**probe["data"], "class_weights": "balanced"}
    assert Recipe.model_validate({**probe, "data": data}).data.class_weights == "balanced"


@pytest.mark.parametrize("name", ["data", "2nd try", "v1.2_b-3", "größe", "m²", "日本"])
def test_runs_can_be_called_by_any_words(probe: dict[str, Any], name: str) -> None:
    assert Recipe.model_validate({**probe, "name": name}).name == name


@pytest.mark.parametrize("name", ["a/b", "a\\b", ".", "..", ".hidden", "../up", "/etc", " ", "-x", "a\n", "a:b", "a\0"])
def test_a_name_cannot_lead_to_another_folder(probe: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match="expected a name for the run's folder: letters, digits"):
        Recipe.model_validate({**probe, "name": name})


def test_training_names_everything_it_lacks_at_once_and_how_to_get_it(training: dict[str, Any]) -> None:
    lacking = {**training, "head": None, "optimizer": None, "budget": None}
    [(key, sentence)] = conflicts(lacking)
    assert key == "strategy"
    assert "`head`, `optimizer`, `budget`" in sentence
    assert "extends: few_layers" in sentence
    assert "finetune-advisor recipes copy few_layers" in sentence


@pytest.mark.parametrize("key", ["augmentation", "regularization"])
def test_training_does_without_augmentation_and_regularization(training: dict[str, Any], key: str) -> None:
    assert getattr(Recipe.model_validate({**training, key: None}), key) is None


def test_nullable_keys_may_be_absent_and_are_then_off(probe: dict[str, Any]) -> None:
    written = {key: value for key, value in probe.items() if value is not None}
    assert Recipe.model_validate(written) == Recipe.model_validate(probe)


@pytest.mark.parametrize("key", ["format", "name", "seed", "data", "backbone", "evaluation", "runtime"])
def test_nothing_else_has_a_hidden_default(probe: dict[str, Any], key: str) -> None:
    del probe[key]
    with pytest.raises(ValidationError, match="Field required"):
        Recipe.model_validate(probe)


@pytest.mark.parametrize(("given", "found"), [({}, "none"), ({"epochs": 2, "images": 9}, "epochs 2 and images 9")])
def test_a_budget_has_one_unit(training: dict[str, Any], given: dict[str, int], found: str) -> None:
    with pytest.raises(ValidationError, match=f"expected one of epochs, steps, images and minutes, found {found}"):
        Recipe.model_validate({**training, "budget": given})


def test_the_same_regularization_twice_is_refused(training: dict[str, Any]) -> None:
    dropout = {"kind": "dropout", "rate": 0.5}
    [(key, sentence)] = conflicts({**training, "regularization": (dropout, {"kind": "l2"}, dropout)})
    assert key == "regularization.2"
    assert sentence.startswith("dropout stands here 2 times")


HIDDEN = "head={initialization: {kind: he}, hidden: 8, activation: {kind: relu}}"
CACHED = "strategy.cached_views=4"
UNCACHED = ("strategy.cached_views=null", "runtime.cache_mib=null")


@pytest.mark.parametrize(
    ("base", "edits", "key", "says"),
    [
        ("from_scratch", ["backbone.weights=bundled"], "backbone.weights", "pretrained ones would be thrown away"),
        ("from_scratch", ["optimizer.body_lr_ratio=0.1"], "optimizer.body_lr_ratio", "set it to 1"),
        ("from_scratch", ["optimizer={kind: sgd, lr: 0.1}"], "optimizer.body_lr_ratio", "set it to 1"),
        ("from_scratch", ["optimizer.layer_decay=0.5"], "optimizer.layer_decay", "set it to null"),
        ("from_scratch", ["strategy.batch_norm=frozen"], "strategy.batch_norm", "expected 'train', found 'frozen'"),
        ("probe_then_fine_tune", ["head.initialization={kind: zeros}"], "head.initialization.kind", "set it to probe"),
        ("probe_then_fine_tune", ["strategy.frozen_epochs=8"], "budget.epochs", "set it to at least 9"),
        (
            "probe_then_fine_tune",
            ["strategy.frozen_epochs=1", "budget.steps=50"],
            "budget",
            "give the budget in epochs, at least 2",
        ),
        ("gradual_unfreezing", ["budget.images=500"], "budget", "give the budget in epochs"),
        ("gradual_unfreezing", ["strategy.stages=16"], "budget.epochs", "set it to at least 9"),
        ("linear_probe", ["optimizer.layer_decay=0.5"], "optimizer", "`optimizer` would be ignored"),
        ("few_layers", ["optimizer.layer_decay=1.0"], "optimizer.layer_decay", "must be less than 1"),
        ("few_layers", ["preprocessing={kind: pca_whitening}"], "preprocessing.kind", "no pretrained network knows"),
        ("linear_probe", ["preprocessing={kind: pca_whitening}"], "preprocessing.kind", "no pretrained network knows"),
        ("linear_probe", ["preprocessing={kind: data}"], "preprocessing.kind", "linear_probe sees images before"),
        (
            "probe_then_fine_tune",
            ["preprocessing={kind: data}"],
            "preprocessing.kind",
            "a head that starts from a probe",
        ),
        ("linear_probe", ["mixing={kind: mixup}"], "mixing", "`mixing` would be ignored"),
        ("few_layers", ["mixing={kind: mixup}", CACHED], "strategy.cached_views", "set it to null"),
        ("all_layers", ["mixing={kind: cutmix}", "loss={kind: focal}"], "loss", "focal takes one label an image"),
        ("all_layers", ["mixing={kind: cutmix}", "optimizer.batch=1"], "optimizer.batch", "needs two images in a step"),
        ("from_scratch", ["head.hidden=8"], "head.activation", "choose one, such as relu"),
        ("few_layers", ["head.activation={kind: relu}"], "head.activation", "no hidden layer"),
        (
            "few_layers",
            [HIDDEN, "head.initialization={kind: zeros}"],
            "head.initialization.kind",
            "source of asymmetry",
        ),
        ("few_layers", [HIDDEN, "head.initialization={kind: probe}"], "head.initialization.kind", "one linear layer"),
        ("few_layers", ["backbone.activation={kind: sigmoid}"], "backbone.activation.kind", "never to use it"),
        ("few_layers", ["backbone.activation={kind: maxout}"], "backbone.activation.kind", "it is for head.activation"),
        (
            "probe_then_fine_tune",
            ["backbone.activation={kind: tanh}"],
            "head.initialization.kind",
            "would be fitted on",
        ),
        ("linear_probe", ["backbone.activation={kind: tanh}"], "backbone.activation", "leaves the network as it is"),
        (
            "few_layers",
            ["regularization=[{kind: kl_sparsity, units: probability}]"],
            "regularization.0.units",
            "head.activation sigmoid",
        ),
        ("from_scratch", ["regularization=[{kind: l2_sp}]"], "regularization.0", "take l2 instead"),
        ("few_layers", ["regularization=[{kind: l2}, {kind: l2_sp}]"], "regularization.0", "pulls them back"),
        (
            "few_layers",
            ["regularization=[{kind: kl_sparsity}]", "runtime.compile=true", *UNCACHED],
            "runtime.compile",
            "hides",
        ),
    ],
)
def test_what_a_strategy_cannot_do_is_told_in_one_sentence(base: str, edits: list[str], key: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(base, edits)
    [problem] = caught.value.problems
    assert problem.key == key
    assert says in problem.message


def test_a_probe_without_frozen_epochs_takes_a_budget_in_any_unit() -> None:
    recipe = load_recipe("probe_then_fine_tune", ["budget.steps=50"])
    assert recipe.budget is not None and recipe.budget.steps == 50


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_is_frozen_and_can_be_a_dictionary_key(name: str) -> None:
    recipe = load_recipe(name)
    assert {recipe: name}[load_recipe(name)] == name
    with pytest.raises(ValidationError):
        recipe.seed = 1  # type: ignore[misc]


def test_views_need_room_and_a_probe_keeps_nothing() -> None:
    with pytest.raises(RecipeError, match=r"strategy\.cached_views: views need room"):
        load_recipe("few_layers", ["runtime.cache_mib=null", CACHED])
    load_recipe("few_layers", ["runtime.cache_mib=null", "strategy.cached_views=null"])
    with pytest.raises(RecipeError, match=r"runtime\.cache_mib: linear_probe keeps nothing"):
        load_recipe("linear_probe", ["runtime.cache_mib=100"])
