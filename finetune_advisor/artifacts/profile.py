"""What the data is: the noun that `analyze` makes and `advise` reads, stored as `analysis/profile.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.errors import DataError

Cell = Literal["linear_probe", "stage_probe", "few_layers", "many_layers"]
"""A cell of the 2x2 table, named by the recipe it points to."""


def _legible(name: object) -> object:
    return name.encode("utf-8", "backslashreplace").decode() if isinstance(name, str) else name


Name = Annotated[str, BeforeValidator(_legible)]
"""A name on the disk. Bytes that are not UTF-8, which JSON cannot carry, are written as escapes."""


class Fact(BaseModel):
    """A frozen value that is part of a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SplitCount(Fact):
    images: int
    per_class: dict[Name, int]


class BadFile(Fact):
    path: Name
    reason: str


class Imbalance(Fact):
    largest: Name
    smallest: Name
    ratio: float
    """Images of the largest class over images of the smallest one, in the trainable part."""


class Health(Fact):
    """Everything that is wrong with the files; the only part that looks at test images."""

    bad_files: tuple[BadFile, ...]
    ignored_files: tuple[Name, ...]
    """Files in class folders that are not images."""
    exact_duplicates: tuple[tuple[Name, ...], ...]
    """Groups of byte-identical files."""
    duplicates_across_splits: tuple[tuple[Name, ...], ...]
    duplicates_across_classes: tuple[tuple[Name, ...], ...]
    imbalance: Imbalance


class Size(Fact):
    """How much there is to learn from: trainable images, that is training and validation."""

    images: int
    per_class: float
    """Mean number of trainable images a class."""
    effective_classes: float
    """The number of equally large classes that would be as hard to guess: exp of the entropy of the class shares."""
    smallest_class: int
    verdict: Literal["little", "plenty"] | None = None
    threshold: float | None = None
    """Images an effective class from which the amount counts as plenty."""

    @property
    def per_effective_class(self) -> float:
        return self.images / self.effective_classes


class StageSimilarity(Fact):
    stage: str
    score: float
    divergence: float
    """Median over channels of KL(data || ImageNet) of the features at a BatchNorm input, in nats."""


class Similarity(Fact):
    """How much the images look like ImageNet to the ruler; 1 is ImageNet itself, 0 nothing like it."""

    score: float
    low: float
    high: float
    """Ends of the 95 % bootstrap interval over images."""
    per_stage: tuple[StageSimilarity, ...]
    max_logit: float
    """Mean largest logit of the ImageNet classifier; ImageNet photographs reach about 10."""
    entropy: float
    """Mean entropy of the ImageNet classifier's answer, in nats; ImageNet photographs have about 1.4."""
    verdict: Literal["similar", "different"] | None = None
    threshold: float | None = None
    confidence: float | None = None
    """Probability that the score is on the verdict's side of the threshold, as a normal deviate of its interval."""


class ProbeScore(Fact):
    """A linear classifier on the frozen features of one stage, judged out of fold."""

    stage: str
    accuracy: float
    std: float
    """Standard error of the accuracy over folds."""
    log_loss: float
    strength: float


class Predicted(Fact):
    """What the chosen recipe should score on unseen images like these."""

    accuracy: float
    low: float
    high: float
    basis: str
    """Where the figure comes from."""


class Seconds(Fact):
    listing: float
    images: float
    probes: float
    total: float


class Profile(Fact):
    """The measured data set. Verdicts and cell stay None until `advice` has placed it in the table."""

    format: Literal[1] = 1
    data: Name
    backbone: str
    weights: str
    size_px: int
    seed: int
    validation: float
    images: int
    classes: tuple[Name, ...]
    splits: dict[str, SplitCount]
    health: Health
    size: Size
    similarity: Similarity
    probes: tuple[ProbeScore, ...]
    """In the order of the stages, then `pooled` (what the classifier sees), then `all` stages concatenated."""
    predicted: Predicted | None = None
    cell: Cell | None = None
    seconds: Seconds

    def probe(self, stage: str) -> ProbeScore:
        """The probe of one stage.

        Raises:
            KeyError: no probe was fitted there.
        """
        for probe in self.probes:
            if probe.stage == stage:
                return probe
        raise KeyError(stage)

    def save(self, path: Path) -> None:
        atomic_write(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile.

        Raises:
            DataError: the file is missing, damaged or of another version.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"There is no profile at {path}.", "Run `finetune-advisor analyze` first.") from None
        except (ValidationError, UnicodeDecodeError) as problem:
            raise DataError(
                f"{path} is not a profile this version can read: {problem}",
                "Run `finetune-advisor analyze` again to rewrite it.",
            ) from problem
