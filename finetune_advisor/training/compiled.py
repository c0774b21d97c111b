"""A network that torch.compile makes one program of, and what is said where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.errors import RunError


@contextmanager
def compilation_explained(recipe: Recipe, run: RunDir) -> Iterator[None]:
    """Training inside tells a person what to do where the network cannot be compiled: at its first pass, or later.

    Raises:
        RunError: it cannot be compiled.
    """
    if not recipe.runtime.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as problem:
        raise RunError(
            f"torch.compile does not get along with {recipe.backbone.name} here: {_reason(problem)}",
            f"Set runtime.compile to false in {run.recipe}, and go on with: {run.resume_command}",
        ) from problem


def _reason(problem: Exception) -> str:
    """The innermost error in a line."""
    while isinstance(inner := problem.__cause__ or getattr(problem, "inner_exception", None), Exception):
        problem = inner
    return next(iter(str(problem).splitlines()), type(problem).__name__)
