"""`optimizer:`, and the keys that every optimizer has."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from finetune_advisor.errors import Problem, RecipeError, did_you_mean
from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    import torch


class Optimizer(Technique):
    """How gradients become steps. Weight decay is not the optimizer's business: `regularization` does it."""

    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate of the new layers."""
    body_lr_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Pretrained layers train at lr times this."""
    layer_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Each stage below the top one trains at this times the rate of the one above it; null: all at one rate."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images in a step."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Images that go through the network together, to save memory; null takes the whole batch."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the whole gradient; null never clips."""

    def body_lr(self, depth: int) -> float:
        """Peak rate of the pretrained layers of a stage that has `depth` pretrained stages above it."""
        return self.lr * self.body_lr_ratio * (self.layer_decay or 1.0) ** depth

    def check(self) -> None:
        """Make sure, before any image is looked at, that it can be built here; what is torch's own always can.

        Raises:
            RecipeError: it cannot.
        """

    @abstractmethod
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The torch optimizer, without weight decay.

        Args:
            groups: torch's parameter groups, each with `params` and its own `lr`.
        """


def fused(groups: list[dict[str, Any]]) -> bool | None:
    """torch's argument of that name: one kernel for all weights on a CPU or a GPU, else what torch chooses."""
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    return True if devices in ({"cpu"}, {"cuda"}) else None


Beta: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Optimizer):
    """Step along a running average of the gradients, each weight's scaled by its own recent size.

    Forgiving about the rate, and the choice for transformers and for short fine-tuning.
    """

    source: ClassVar[str] = "Kingma & Ba 2015, Adam; Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization"
    advised: ClassVar[str] = (
        "Wherever layers are trained; its rates follow from the batch, the start of the classifier and the similarity."
    )

    kind: Literal["adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate of the new layers."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """How much of the averages of gradient and square is kept."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Keeps the division by a small average finite."""

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """`torch.optim.AdamW` over the groups."""
        import torch

        return torch.optim.AdamW(
            groups, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=0.0, fused=fused(groups)
        )


class Sgd(Optimizer):
    """Step along a running average of the gradients.

    Cheapest in memory and often the best in the end, with a well-chosen rate.
    """

    source: ClassVar[str] = "slides: during training (a typical learning rate is 0.1); Sutskever et al. 2013"
    not_advised: ClassVar[str] = (
        "Its rate has to be searched for on each data set, which few images do not allow; it was not compared with "
        "`adamw` on equal terms."
    )

    kind: Literal["sgd"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    """Peak learning rate of the new layers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the last step that is taken again."""
    nesterov: bool = False
    """Look ahead along the momentum before taking the gradient."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the momentum, found momentum 0; set nesterov to false")
        return self

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """`torch.optim.SGD` over the groups."""
        import torch

        return torch.optim.SGD(
            groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=0.0, fused=fused(groups)
        )


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
        from timm.optim import get_optimizer_class, get_optimizer_info, list_optimizers

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
        from timm.optim import create_optimizer_v2

        return create_optimizer_v2(groups, opt=self.name, lr=self.lr, weight_decay=0.0, **self.options)


def _problem(key: str, message: str) -> RecipeError:
    hint = "`sgd` and `adamw` are kinds of their own: `optimizer.kind=adamw`."
    return RecipeError([Problem(f"optimizer.{key}", message)], hint)


AnyOptimizer: TypeAlias = Annotated[Sgd | AdamW | Timm, Field(discriminator="kind")]

__all__ = ["AdamW", "AnyOptimizer", "Optimizer", "Sgd", "Timm"]
