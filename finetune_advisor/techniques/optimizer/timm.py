"""Any optimizer that timm has."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from finetune_advisor.errors import Problem, RecipeError, did_you_mean
from finetune_advisor.techniques.optimizer.adamw import Beta
from finetune_advisor.techniques.optimizer.base import Optimizer

if TYPE_CHECKING:
    import torch

_LISTS_IN_STATE = ("kron",)
"""Families whose memory of past gradients is no set of tensors, so that no checkpoint could hold it."""


class Timm(Optimizer):
    """One of timm's optimizers, by its name there: lamb, lion, nadamw, rmsprop, muon and many more.

    Weight decay stays the business of `regularization`: variants of a name that differ in it alone, such as lamb and
    lambw, are the same here.
    """

    source: ClassVar[str] = "Wightman 2019, PyTorch Image Models (timm.optim), which names the paper of each"
    not_advised: ClassVar[str] = "What rate is right differs from one to the next, and none of them was measured."

    kind: Literal["timm"] = "timm"
    name: Annotated[str, Field(min_length=1)] = "lamb"
    """timm's name: `python -c "import timm.optim; print(timm.optim.list_optimizers())"`."""
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate of the new layers; what is right differs much between optimizers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Where it has one: share of the last step that is taken again; null is timm's choice."""
    betas: tuple[Beta, ...] | None = None
    """Where it has them: how much of its averages is kept; null is timm's choice."""
    eps: Annotated[float, Field(gt=0)] | None = None
    """Where it has one: keeps divisions finite; null is timm's choice."""

    @property
    def options(self) -> dict[str, Any]:
        """What is not left to timm."""
        chosen = {"momentum": self.momentum, "betas": self.betas, "eps": self.eps}
        return {name: value for name, value in chosen.items() if value is not None}

    def check(self) -> None:
        """Make sure that timm has this optimizer, that it takes these keys, and that it can be built here.

        Raises:
            RecipeError: every key that is wrong.
        """
        from timm.optim import get_optimizer_class, get_optimizer_info, list_optimizers  # type: ignore[attr-defined]

        known = [str(name) for name in list_optimizers()]
        if self.name not in known:
            raise _problem("name", f"timm has no optimizer {self.name!r}{did_you_mean(self.name, known)}")
        if get_optimizer_info(self.name).second_order:
            raise _problem("name", f"{self.name} needs second derivatives, which training here does not compute")
        if self.name.startswith(_LISTS_IN_STATE):
            raise _problem("name", f"the state of {self.name} does not fit a checkpoint; choose another")
        try:
            built = get_optimizer_class(self.name, bind_defaults=False)
        except (ImportError, RuntimeError, AssertionError) as error:
            raise _problem("name", f"{self.name} cannot be used on this machine: {error}") from error
        problems = list(self._wrong_options(inspect.signature(built).parameters))
        if problems:
            raise RecipeError(problems)

    def _wrong_options(self, taken: Mapping[str, inspect.Parameter]) -> Iterator[Problem]:
        for key, value in self.options.items():
            if key not in taken:
                yield Problem(f"optimizer.{key}", f"{self.name} has no {key}; set it to null")
            elif isinstance(usual := taken[key].default, tuple) and len(usual) != len(value):
                yield Problem(f"optimizer.{key}", f"{self.name} takes {len(usual)} values, found {len(value)}")

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """timm's optimizer over the groups."""
        from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

        return create_optimizer_v2(groups, opt=self.name, lr=self.lr, weight_decay=0.0, **self.options)


def _problem(key: str, message: str) -> RecipeError:
    hint = "`sgd` and `adamw` are kinds of their own: `optimizer.kind=adamw`."
    return RecipeError([Problem(f"optimizer.{key}", message)], hint)
