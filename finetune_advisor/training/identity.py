"""What a resumed run must share with the interrupted one, and what is said where it does not.

Shapes: N images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_diff import diff_recipes
from finetune_advisor.artifacts.recipe_formats import without_removed_keys
from finetune_advisor.artifacts.recipe_yaml import Place, plain, tree_of
from finetune_advisor.data.wording import counted, listed
from finetune_advisor.errors import RecipeError, RunError
from finetune_advisor.training.prepare import Prepared

FREE = frozenset(
    {
        "data.path",
        "backbone.weights",
        "runtime.workers",
        "runtime.retries",
        "runtime.compile",
        "runtime.tracker",
        "optimizer.micro_batch",
    }
)
"""Keys that may change while a run is interrupted: where things are (their content is compared), speed and memory."""


@dataclass(frozen=True)
class Identity:
    """The recipe, and what it was executed on."""

    recipe: Recipe
    weights: str
    """Digest of the backbone's weights."""
    classes: tuple[str, ...]
    images: Mapping[str, bytes]
    """Eight bytes for each image, by its name, that change with its content, its split and its label."""

    @classmethod
    def of(cls, prepared: Prepared) -> Identity:
        """That of a run that is about to begin or to go on."""
        data = prepared.data
        images = {
            sample.name: hashlib.blake2b(f"{sample.split} {sample.label} {digest}".encode(), digest_size=8).digest()
            for sample, digest in zip(data.listing.samples, data.digests, strict=True)
        }
        return cls(prepared.recipe, prepared.backbone.weights.digest, data.classes, images)

    def as_json(self) -> dict[str, Any]:
        """All but the images."""
        return {"recipe": self.recipe.model_dump(mode="json"), "weights": self.weights, "classes": list(self.classes)}

    def images_tensor(self) -> Tensor:
        """The images (N, 8), uint8."""
        joined = np.frombuffer(b"".join(self.images.values()), np.uint8)
        return torch.from_numpy(joined.reshape(-1, 8).copy())

    def require_same(self, saved: Mapping[str, Any], images_N8: Tensor, path: Path) -> None:
        """Check that a checkpoint was written by a run of the same identity.

        Raises:
            RunError: says what changed since.
        """
        changes = list(self._changes(saved, images_N8))
        if changes:
            raise RunError(
                f"{path} is of another run than recipe and images describe now: {'; '.join(changes)}.",
                "Start a new run instead of --resume, or put recipe.yaml and the images back as they were.",
            )

    def _changes(self, saved: Mapping[str, Any], images_N8: Tensor) -> Iterator[str]:
        yield from self._recipe_changes(saved["recipe"])
        if saved["weights"] != self.weights:
            yield "the backbone's weights differ"
        if saved["classes"] != list(self.classes):
            yield f"the classes were {', '.join(saved['classes'])} and are {', '.join(self.classes)}"
        elif len(images_N8) != len(self.images):
            yield f"there were {counted(len(images_N8), 'image')} and are {len(self.images)}"
        else:
            differs_N = (images_N8 != self.images_tensor()).any(dim=1)
            names = [name for name, differs in zip(self.images, differs_N.tolist(), strict=True) if differs]
            if names:
                yield f"{counted(len(names), 'image')} changed: {listed(names)}"

    def _recipe_changes(self, saved: Mapping[str, Any]) -> Iterator[str]:
        try:
            known, _ = without_removed_keys(tree_of(saved, Place("checkpoint")))
            before = Recipe.model_validate_json(json.dumps(plain(known)))
        except RecipeError as problem:
            yield f"its recipe is of another version ({', '.join(each.key for each in problem.problems)})"
            return
        except ValidationError as problem:
            keys = sorted({".".join(map(str, error["loc"])) for error in problem.errors()})
            yield f"its recipe is of another version ({', '.join(keys)})"
            return
        for key, old, new in diff_recipes(before, self.recipe):
            if key not in FREE:
                yield f"{key} was {old} and is {new}"
