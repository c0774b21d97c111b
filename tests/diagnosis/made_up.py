"""Made-up curves of every kind, with the noise that a number of images and a number of batches bring.

They are drawn from a simple model of training: the loss falls exponentially in the rate that was spent, the accuracy
follows it. Nothing here knows how the signs are told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from finetune_advisor.diagnosis.curves import Case
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.history import Record

Array = npt.NDArray[np.float64]


@dataclass
class Setting:
    """A data set and a recipe, at random."""

    rng: np.random.Generator
    classes: int = field(init=False)
    train: int = field(init=False)
    val: int = field(init=False)
    epochs: int = field(init=False)
    batch: int = 32
    annealed: bool = field(init=False)
    watched: bool = field(init=False)
    """Whether the size of updates was recorded."""

    def __post_init__(self) -> None:
        rng = self.rng
        self.classes = int(rng.choice([2, 4, 10]))
        self.train = int(rng.integers(200, 3000))
        self.val = int(rng.integers(60, 600))
        self.epochs = int(rng.integers(8, 30))
        self.annealed = bool(rng.random() < 0.5)
        self.watched = bool(rng.random() < 0.5)

    @property
    def chance(self) -> float:
        return math.log(self.classes)

    @property
    def rate(self) -> Array:
        """At the end of each epoch, as a share of the peak."""
        if not self.annealed:
            return np.ones(self.epochs)
        progress = (np.arange(self.epochs) + 1) / self.epochs
        return np.asarray(0.5 * (1 + np.cos(np.pi * progress)))

    @property
    def time(self) -> Array:
        """Rate spent, from 0 to 1."""
        if not self.annealed:
            return (np.arange(self.epochs) + 1) / self.epochs
        progress = (np.arange(self.epochs) + 1) / self.epochs
        return np.asarray(progress + np.sin(np.pi * progress) / np.pi)

    def accuracy(self, learned: Array) -> Array:
        """What a share of the way down is worth in accuracy."""
        lowest = 1 / self.classes
        return np.asarray(lowest + (1 - lowest) * np.clip(learned, 0, 1) ** 0.8)


def draw(
    setting: Setting,
    train: Array,
    val: Array,
    *,
    val_loss: Array | None = None,
    update: float = 2e-3,
    jump: float = 0.0,
    batch_noise: float | None = None,
) -> Case:
    """A case from shares of the way down (1 is a loss of nothing) on training and validation images."""
    rng, chance = setting.rng, setting.chance
    epochs = len(train)
    per_image = 0.6 * chance
    train_loss = chance * (1 - train) + rng.normal(0, per_image / math.sqrt(setting.train), epochs)
    train_loss = np.abs(train_loss + jump * chance * rng.normal(0, 1, epochs))
    clean = chance * (1 - val) if val_loss is None else val_loss
    noisy = np.abs(clean + rng.normal(0, 0.3 * per_image / math.sqrt(setting.val), epochs))
    train_hits = rng.binomial(setting.train, setting.accuracy(1 - train_loss / chance))
    val_hits = rng.binomial(setting.val, setting.accuracy(val))
    noise = per_image / math.sqrt(setting.batch) if batch_noise is None else batch_noise
    spread = math.exp(rng.normal(0, 0.3))
    records = tuple(
        Record(
            step=max(1, setting.train // setting.batch) * (at + 1),
            epoch=float(at + 1),
            lr={"head": 3e-3 * rate, "body": 3e-4 * rate},
            train_loss=float(train_loss[at]),
            train_accuracy=train_hits[at] / setting.train,
            val_loss=float(noisy[at]),
            val_accuracy=val_hits[at] / setting.val,
            images_per_second=50.0,
            seconds=10.0 * at,
            loss_noise=noise * math.exp(rng.normal(0, 0.1)),
            update_ratio={"head": 0.05, "body": update * spread * max(rate, 0.01)} if setting.watched else None,
        )
        for at, rate in enumerate(setting.rate[:epochs])
    )
    recipe = load_recipe(
        "few_layers",
        [
            f"budget.epochs={epochs}",
            f"optimizer.batch={setting.batch}",
            "loss.label_smoothing=0",
            f"schedule={'{kind: cosine}' if setting.annealed else '{kind: constant}'}",
        ],
    )
    classes = tuple(f"class {number}" for number in range(setting.classes))
    answers = np.full((setting.classes, setting.classes), 3).tolist()
    return Case(recipe, records, classes, setting.val, {"confusion": answers, "accuracy": 0.9})


def fall(setting: Setting, *, speed: float, end: float) -> Array:
    """Exponentially down in the rate that is spent: `speed` is what time is counted in."""
    return np.asarray(end * (1 - np.exp(-speed * setting.time)) / (1 - math.exp(-speed * 1.0)))


def healthy(setting: Setting) -> Case:
    speed = setting.rng.uniform(5, 9) if setting.annealed else setting.rng.uniform(5.5, 7)
    train = fall(setting, speed=speed, end=setting.rng.uniform(0.85, 0.97))
    return draw(setting, train, train * setting.rng.uniform(0.95, 1.0))


def exploding(setting: Setting) -> Case:
    rng = setting.rng
    begin = int(rng.integers(1, setting.epochs // 2))
    train = -np.exp(np.clip(np.arange(setting.epochs) - begin, 0, 6) * rng.uniform(0.3, 1.0)) + 1.2
    return draw(setting, train, train, update=rng.uniform(0.05, 0.5))


def jumping(setting: Setting) -> Case:
    train = fall(setting, speed=8, end=setting.rng.uniform(0.3, 0.7))
    jump = setting.rng.uniform(0.12, 0.3)
    setting.annealed = False
    return draw(setting, train, train, jump=jump, update=setting.rng.uniform(0.03, 0.2))


def stuck_above(setting: Setting) -> Case:
    setting.watched = True
    train = fall(setting, speed=setting.rng.uniform(14, 25), end=setting.rng.uniform(0.2, 0.5))
    return draw(setting, train, train, jump=0.015, update=setting.rng.uniform(0.04, 0.3))


def crawling(setting: Setting) -> Case:
    train = setting.rng.uniform(0.05, 0.35) * setting.time
    return draw(setting, train, train, update=setting.rng.uniform(1e-6, 4e-5))


def overfitted(setting: Setting) -> Case:
    rng = setting.rng
    train = fall(setting, speed=rng.uniform(5, 9), end=rng.uniform(0.96, 0.995))
    val = fall(setting, speed=rng.uniform(6, 10), end=rng.uniform(0.5, 0.75))
    rise = 1 + rng.uniform(0.1, 0.6) * setting.time
    setting.val = max(setting.val, 150)
    return draw(setting, train, val, val_loss=setting.chance * (1 - val) * rise)


def over_confident(setting: Setting) -> Case:
    rng = setting.rng
    setting.epochs = max(12, setting.epochs)
    train = fall(setting, speed=rng.uniform(6, 9), end=rng.uniform(0.95, 0.98))
    val = train * 0.98
    turn = rng.uniform(0.2, 0.4)
    low = setting.chance * 0.2
    down = setting.chance * (1 - fall(setting, speed=9, end=0.8))
    up = low * rng.uniform(0.8, 2.0) * np.clip(setting.time - turn, 0, None) / (1 - turn)
    return draw(setting, train, val, val_loss=down + up)


def underfitted(setting: Setting) -> Case:
    rng = setting.rng
    train = fall(setting, speed=rng.uniform(6, 12), end=rng.uniform(0.3, 0.6))
    return draw(setting, train, train * rng.uniform(0.97, 1.03))


def unfinished(setting: Setting) -> Case:
    rng = setting.rng
    speed = rng.uniform(1.2, 2.2)
    train = rng.uniform(0.85, 0.95) * (1 - np.exp(-speed * setting.time))
    return draw(setting, train, train * rng.uniform(0.96, 1.0))


def cut_short(setting: Setting) -> Case:
    setting.epochs = int(setting.rng.integers(1, 3))
    train = setting.rng.uniform(0.2, 0.6) * setting.time
    return draw(setting, train, train)


def stopped_progress(setting: Setting) -> Case:
    rng = setting.rng
    setting.annealed, setting.epochs = False, max(14, setting.epochs)
    train = fall(setting, speed=rng.uniform(12, 20), end=rng.uniform(0.86, 0.95))
    return draw(setting, train, train * rng.uniform(0.95, 0.99))


def small_batches(setting: Setting) -> Case:
    rng = setting.rng
    setting.batch = int(rng.choice([1, 2, 4]))
    train = fall(setting, speed=rng.uniform(5.5, 7), end=rng.uniform(0.85, 0.95))
    return draw(setting, train, train * rng.uniform(0.95, 1.0), batch_noise=0.8 * setting.chance / setting.batch**0.5)


KINDS: dict[str, tuple[Callable[[Setting], Case], str | None]] = {
    "healthy": (healthy, None),
    "exploding": (exploding, "rate_too_high"),
    "jumping": (jumping, "rate_too_high"),
    "stuck above": (stuck_above, "rate_too_high"),
    "crawling": (crawling, "rate_too_low"),
    "cut short": (cut_short, "too_few_evaluations"),
    "overfitted": (overfitted, "overfitting"),
    "over-confident": (over_confident, "over_confident"),
    "underfitted": (underfitted, "underfitting"),
    "unfinished": (unfinished, "still_improving"),
    "stopped progress": (stopped_progress, "plateau"),
    "small batches": (small_batches, "noisy_loss"),
}
"""What is drawn, and the sign that has to be seen first."""


def made_up(kind: str, seed: int) -> Case:
    return KINDS[kind][0](Setting(np.random.default_rng([seed, list(KINDS).index(kind)])))
