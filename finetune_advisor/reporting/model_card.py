"""The README.md of an exported model: what it is, what it was trained on, how good it is, and where it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import yaml

from finetune_advisor.backbones.export import steps, with_onnx, with_timm
from finetune_advisor.recipes.load import dump_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.metrics import counted_images, leak_sentence
from finetune_advisor.records.profile import Profile
from finetune_advisor.reporting.pages import TEMPLATES
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.text import counted, shown, some

FEW_IMAGES = 30
"""Of a class: with fewer its own figures say little."""

POOR_RECALL = 0.7

MOST_NAMES = 8

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~])")


@dataclass(frozen=True)
class Card:
    """What a card is written from.

    Attributes:
        metrics: content of the run's metrics.json.
        images: how many images each split has.
        profile: the analysis of the images, where the run has one.
        license: of the pretrained weights, where it is known.
        needs_onnx: whether timm has no network of this shape, so that the code uses the ONNX file beside the card.
    """

    recipe: Recipe
    metrics: Mapping[str, Any]
    classes: tuple[str, ...]
    images: Mapping[str, int]
    preprocess: Preprocess
    profile: Profile | None
    license: str | None
    needs_onnx: bool
    version: str

    @property
    def shown_split(self) -> str:
        return "test" if self.metrics["test"] else "val"

    @property
    def scores(self) -> Mapping[str, Any]:
        """Those that say most about new images."""
        scores: Mapping[str, Any] = self.metrics[self.shown_split]
        return scores


def model_card(card: Card) -> str:
    """The card as Markdown, with the YAML in front that the hub reads."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - Markdown; names are escaped by the filter `md`
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "md": lambda text: _MARKDOWN.sub(r"\\\1", str(text)),
        "counted_images": counted_images,
        "few": lambda names: some(names, MOST_NAMES),
        "share": lambda value: "–" if value is None else f"{value:.2f}",
    }
    metrics = card.metrics
    return environment.get_template("model_card.md.j2").render(
        front_matter=yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True),
        name=card.recipe.name,
        recipe=card.recipe,
        classes=card.classes,
        license=card.license,
        version=card.version,
        made_by=_made_by(card),
        needs_onnx=card.needs_onnx,
        program=(with_onnx if card.needs_onnx else with_timm)(card.preprocess),
        steps=steps(card.preprocess),
        preprocess=card.preprocess,
        warnings=list(_warnings(card)),
        scored=[(_split_name(split, metrics), metrics[split]) for split in ("test", "val") if metrics[split]],
        per_class=[(shown(name), row) for name, row in card.scores["per_class"].items()],
        images=card.images,
        facts=list(_facts(card.profile)),
        leak=leak_sentence(card.scores, f"{'test' if card.shown_split == 'test' else 'validation'} images"),
        limits=list(_limits(card)),
        recipe_yaml=_recipe_yaml(card.recipe),
    )


def _made_by(card: Card) -> str:
    """What trained the model, as metrics.json has it: the strategy, or `ensemble: KIND`."""
    strategy = card.recipe.strategy.kind
    word, _, kind = card.metrics["recipe"].partition(": ")
    return f"An ensemble (`{kind}`) whose first member is a `{strategy}`" if word == "ensemble" else f"A `{strategy}`"


def _recipe_yaml(recipe: Recipe) -> str:
    """The recipe without where the images lay: that is nobody else's business."""
    data = recipe.data.model_copy(update={"path": PurePath(recipe.data.path).name or "data"})
    lines = dump_recipe(recipe.model_copy(update={"data": data})).splitlines(keepends=True)
    return "".join(lines[next(number for number, line in enumerate(lines) if line.startswith("format:")) :])


def _split_name(split: str, metrics: Mapping[str, Any]) -> str:
    return "test" if split == "test" else f"validation ({metrics['val_is']})"


def _front_matter(card: Card) -> dict[str, Any]:
    """Metadata as the hub reads it: https://huggingface.co/docs/hub/model-cards."""
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": card.recipe.name, "type": "imagefolder", "split": card.shown_split},
        "metrics": [{"type": "accuracy", "value": round(card.scores["accuracy"], 4)}],
    }
    library = "onnx" if card.needs_onnx else "timm"
    return {
        "library_name": library,
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", library, "finetune-advisor"],
        **({"license": card.license.lower()} if card.license else {}),
        "model-index": [{"name": card.recipe.name, "results": [result]}],
    }


def _facts(profile: Profile | None) -> Iterator[str]:
    if profile is None:
        yield "The images were not analyzed before training; only their number is known."
        return
    size, similarity, health = profile.size, profile.similarity, profile.health
    yield f"{size.per_class:.0f} trainable images per class; the smallest class has {size.smallest_class}."
    verdict = f", {similarity.verdict}" if similarity.verdict else ""
    yield f"Similarity to ImageNet: {similarity.score:.2f} [{similarity.low:.2f}, {similarity.high:.2f}]{verdict}."
    found = [
        counted(len(health.bad_files), "file that cannot be read", "files that cannot be read"),
        counted(len(health.near_duplicates), "group of near-duplicates", "groups of near-duplicates"),
        counted(len(health.label_suspects), "label that may be wrong", "labels that may be wrong"),
    ]
    yield f"Health: {', '.join(found)}."


def _warnings(card: Card) -> Iterator[str]:
    """What makes the scores look better than they are, each a sentence or two; shown above them."""
    if card.shown_split != "test":
        how = card.metrics["val_is"]
        yield f"There was no test split: the scores are those of validation ({how}), and new images may score lower."


def _limits(card: Card) -> Iterator[str]:
    yield (
        f"Every image gets one of the {len(card.classes)} classes, also one that shows none of them; "
        "look at the probability before you act on a prediction."
    )
    low, high = card.scores["accuracy_ci95"]
    yield (
        f"{counted_images(card.scores)} were scored: the accuracy on others like them lies between "
        f"{low:.3f} and {high:.3f} (95 %). Images from elsewhere may score lower."
    )
    per_class = card.scores["per_class"]
    poor = [name for name, row in per_class.items() if row["recall"] is not None and row["recall"] < POOR_RECALL]
    if poor:
        yield f"Often missed (recall below {POOR_RECALL}): {some(poor, MOST_NAMES)}."
    few = [name for name, row in per_class.items() if row["images"] < FEW_IMAGES]
    if few:
        yield f"Scored on fewer than {FEW_IMAGES} images, so hardly known: {some(few, MOST_NAMES)}."
