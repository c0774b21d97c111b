"""Views of images whose truth is known: what a class is about decides which views leave it true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from finetune_advisor.advice.advise import Advice, advise
from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.records.profile import Profile, View

SIZE, PER_CLASS = 48, 20

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[np.random.Generator, int], Pixels]


def arrow(rng: np.random.Generator, label: int) -> Pixels:
    """A bright arrow head that points left, right, up or down, somewhere on dark ground."""
    y, x = np.mgrid[:SIZE, :SIZE]
    along, across = x - rng.integers(16, 32), np.abs(y - rng.integers(16, 32))
    head = (along >= 0) & (along < 12) & (across <= 12 - along)
    gray = np.where(np.rot90(head, label), 220, 40) + rng.normal(0, 8, (SIZE, SIZE))
    return np.repeat(gray[:, :, None], 3, axis=2).clip(0, 255).astype(np.uint8)


def hue(rng: np.random.Generator, label: int) -> Pixels:
    """Red or green noise of the same brightness."""
    red, green = ((200, 60), (60, 131))[label]
    return rng.normal((red, green, 60), 30, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)


def grain(rng: np.random.Generator, label: int) -> Pixels:
    """Fine or coarse noise, which has no direction."""
    cell = (2, 6)[label]
    coarse = rng.integers(30, 225, (SIZE // cell, SIZE // cell), dtype=np.uint8)
    gray = np.kron(coarse, np.ones((cell, cell), np.uint8))
    return np.repeat(gray[:, :, None], 3, axis=2)


def stripes(rng: np.random.Generator, label: int) -> Pixels:
    """Lines across or down: no mirror changes which, a quarter turn does."""
    lines = np.repeat(rng.integers(30, 225, SIZE // 3), 3)[:, None] + rng.normal(0, 20, (SIZE, SIZE))
    gray = (lines if label else lines.T).clip(0, 255).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def made(folder: Path, draw: Draw, classes: int) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for number in range(PER_CLASS):
            Image.fromarray(draw(rng, label)).save(folder / str(label) / f"{number}.png")
    return folder


def fall(profile: Profile, name: View) -> float:
    effect = profile.view(name)
    assert effect is not None
    return effect.accuracy - effect.transferred


def advised(profile: Profile) -> list[str]:
    advice: Advice = advise(profile, strategy="many_layers")
    return [technique.kind for technique in advice.recipe.augmentation or ()]


def test_arrows_must_not_be_flipped_or_turned(tmp_path: Path) -> None:
    profile = analyze(made(tmp_path / "arrows", arrow, 4))
    assert min(fall(profile, view) for view in ("horizontal_flip", "vertical_flip", "rotation_90")) > 0.3
    assert not {"horizontal_flip", "vertical_flip", "rotation"} & set(advised(profile))
    assert profile.seconds.views > 0


def test_color_must_stay_where_it_is_the_class(tmp_path: Path) -> None:
    profile = analyze(made(tmp_path / "hues", hue, 2))
    assert fall(profile, "gray") > 0.3
    kinds = advised(profile)
    assert "color_jitter" not in kinds and {"horizontal_flip", "vertical_flip"} <= set(kinds)


def test_grain_may_be_flipped_both_ways_and_turned_and_lose_its_color(tmp_path: Path) -> None:
    profile = analyze(made(tmp_path / "grain", grain, 2))
    assert {"horizontal_flip", "vertical_flip", "rotation", "color_jitter"} <= set(advised(profile))


def test_stripes_may_be_flipped_but_not_turned(tmp_path: Path) -> None:
    profile = analyze(made(tmp_path / "stripes", stripes, 2))
    assert fall(profile, "rotation_90") > 0.3
    kinds = advised(profile)
    assert "rotation" not in kinds and {"horizontal_flip", "vertical_flip"} <= set(kinds)


def test_only_what_advice_asks_for_is_shown(tmp_path: Path) -> None:
    folder = made(tmp_path / "gray", grain, 2)
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").resize((80, 48)).save(path)
    views = {effect.view for effect in analyze(folder).views}
    assert views == {"horizontal_flip", "vertical_flip", "rotation_90", "pad", "small"}


def test_too_few_images_are_not_judged(profile: Profile) -> None:
    assert profile.views == ()


@pytest.mark.slow
def test_real_digits_must_not_be_flipped_or_turned(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:600], digits.target, strict=False)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype(np.uint8)).save(tmp_path / str(label) / f"{number}.png")
    assert not {"horizontal_flip", "vertical_flip", "rotation"} & set(advised(analyze(tmp_path)))
