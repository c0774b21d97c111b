"""What regularization does around a step of the optimizer: which weights of which groups it sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.stages import classifier_parameters
from finetune_advisor.errors import Problem, RecipeError
from finetune_advisor.techniques.regularization import FeaturePenalty, Regularization, Weights
from finetune_advisor.techniques.strategy import FineTuning
from finetune_advisor.training.groups import Group


@dataclass(frozen=True)
class Regularizer:
    """The techniques of a recipe, applied to the groups of an optimizer.

    `starts` holds, by name, what pretrained weights were before training; it follows from the recipe, so a resumed run
    finds it again by building the network anew.
    """

    techniques: Sequence[Regularization] = ()
    starts: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def penalty(self) -> FeaturePenalty | None:
        """The cost of features, of which there is one kind."""
        return next((technique for technique in self.techniques if isinstance(technique, FeaturePenalty)), None)

    def before_step(self, groups: Iterable[dict[str, Any]], *, progress: float) -> None:
        """Between the gradient and the optimizer's step."""
        for group, weights in self._decaying(groups):
            for technique in self.techniques:
                technique.before_step(weights, lr=group["lr"], progress=progress)

    def after_step(self, groups: Iterable[dict[str, Any]]) -> None:
        """After the optimizer's step."""
        for _, weights in self._decaying(groups):
            for technique in self.techniques:
                technique.after_step(weights)

    def _decaying(self, groups: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Weights]]:
        for group in groups if self.techniques else ():
            if group["decays"]:
                named = [(n, p) for n, p in zip(group["names"], group["params"], strict=True) if p.requires_grad]
                names, tensors = [name for name, _ in named], [tensor for _, tensor in named]
                starts = [self.starts[name] for name in names if name in self.starts]
                yield group, Weights(names, tensors, new=group["new"], starts=starts)


def regularizer_of(recipe: Recipe, groups: Sequence[Group]) -> Regularizer:
    """The recipe's regularization, for groups whose pretrained weights are still what they were."""
    techniques, starts = recipe.regularization or (), {}
    if any(technique.needs_starts for technique in techniques):
        starts = {
            name: parameter.detach().clone()
            for group in groups
            if group.decays and not group.new
            for name, parameter in group.parameters
        }
    return Regularizer(techniques, starts)


def check_named_layers(recipe: Recipe, backbone: Backbone, strategy: FineTuning) -> None:
    """Refuse regularization of layers that do not exist or never train.

    Raises:
        RecipeError: names each of them.
    """
    trains = set(strategy.trainable([stage.name for stage in backbone.stages]))
    trained = {name for stage in backbone.stages if stage.name in trains for name in stage.parameters}
    trained |= classifier_parameters(backbone.net)
    every = [name for name, _ in backbone.net.named_parameters()]
    problems = []
    for technique in recipe.regularization or ():
        key = f"regularization.{technique.kind}.layers"
        for layer in technique.named_layers():
            inside = {name for name in every if name.startswith(f"{layer}.")}
            if not inside:
                there = ", ".join(stage.name for stage in backbone.stages[1:-1])
                problems.append(Problem(key, f"{backbone.name} has no layer {layer!r}; its stages are {there}"))
            elif not inside & trained:
                message = f"{layer} is frozen by {strategy.kind}: {technique.kind} would do nothing there; leave it out"
                problems.append(Problem(key, message))
    if problems:
        raise RecipeError(problems)
