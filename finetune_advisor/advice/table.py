"""The 2x2 table: size x similarity -> a cell, and the cells across a threshold that the data is near to.

The images per class are compared, on a logarithmic scale, with a border. The border is the calibrated one, moved by
what the probe's learning curve says: a steep curve means that even the probe is still starved.

amount = logistic(per_decade * (log10(images per class) - log10(border)))

Images per class are those per effective class, which common classes make up almost alone: 400 images of one class and 2
of another count as 390. So the smallest class bounds them: layers cannot learn a class from two images, however many
there are of the others.

|                       | very similar                    | very different                         |
|-----------------------|---------------------------------|----------------------------------------|
| very little data      | linear classifier on top        | linear classifiers at different stages |
| quite a lot of data   | fine-tune a few layers          | fine-tune many layers                  |

Source: slides "fine-tune"; F.-F. Li and A. Karpathy, CS231n, "Transfer learning".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

from finetune_advisor.metrics import Z95
from finetune_advisor.probes.interval import CHOSEN, FIXED, interval
from finetune_advisor.records.profile import Cell, Neighbor, Predicted, ProbeScore, Profile, Similarity, Size

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Curve(_Values):
    """How the probe's learning curve moves the border of the amount."""

    usual_reduction: Share
    """Share of the probe's errors that ten times the images usually take away."""
    spread_reduction: Positive
    """Standard deviation of that share over data sets."""
    decades_per_reduction: Positive
    """Powers of ten by which the border moves for a whole unit of that share."""


class Amount(_Values):
    """The border between little and plenty."""

    plenty_per_class: Positive
    """Trainable images an effective class, where the learning curve is a usual one."""
    per_decade: Positive
    """Slope of the amount at the border, in logits per power of ten."""
    spread_decades: Positive
    """Standard deviation of the border itself, in powers of ten."""
    curve: Curve


class SimilarityBorder(_Values):
    """The border between similar and different."""

    similar: Share
    spread: Positive
    """Standard deviation of the border itself."""


class Calibration(_Values):
    """Borders of the table and how surely they are known; the file says where they come from."""

    amount: Amount
    similarity: SimilarityBorder


@cache
def calibration() -> Calibration:
    """The calibration that ships with this version."""
    text = (Path(__file__).parent / "calibration.yaml").read_text(encoding="utf-8")
    return Calibration.model_validate(yaml.safe_load(text))


BORDER = 0.5
"""The amount from which there is plenty: where the logistic function has its middle."""

RARE_CLASS_FACTOR = 20
"""Images per class that count for each image of the smallest class, by hand: with fewer than about ten images in a
class there is never plenty."""

LEAST_ERROR = 1e-3
"""Error of a probe below which a share of it means nothing."""


@dataclass(frozen=True)
class Reduction:
    """Share of the probe's errors that ten times the images would take away."""

    share: float
    """0 for a flat learning curve, 1 for one that falls to no errors at all."""
    std: float


def error_reduction(size: Size) -> Reduction | None:
    """What the learning curve promises of ten times the images; None where none was fitted."""
    if size.forecast is None:
        return None
    now = max(_error_now(size), LEAST_ERROR)
    share = min(max(1 - (1 - size.forecast.accuracy) / now, 0.0), 1.0)
    return Reduction(share, (size.forecast.high - size.forecast.low) / (2 * Z95) / now)


def _error_now(size: Size) -> float:
    assert size.forecast is not None
    if size.power_law is not None:
        law = size.power_law
        return law.floor + law.scale * math.pow(size.forecast.images / 10, -law.exponent)
    return 1 - size.learning_curve[-1].accuracy if size.learning_curve else 1 - size.forecast.accuracy


def plenty_per_class(size: Size, borders: Amount | None = None) -> float:
    """Images per class from which there is plenty, for this learning curve."""
    return float(10 ** _border(size, borders or calibration().amount).mean)


def counted_per_class(size: Size) -> float:
    """Images per class that the amount counts; see the top of the file."""
    return min(size.per_effective_class, RARE_CLASS_FACTOR * size.smallest_class)


def judge_size(size: Size, borders: Amount) -> Size:
    """The size with its amount and verdict, and the two numbers that they compare."""
    above = _decades(size) - _border(size, borders).mean
    return size.model_copy(
        update={
            "amount": 1 / (1 + math.exp(-borders.per_decade * above)),
            "verdict": "plenty" if above >= 0 else "little",
            "threshold": BORDER,
            "counted_per_class": counted_per_class(size),
            "plenty_per_class": plenty_per_class(size, borders),
        }
    )


def probability_of_plenty(size: Size, borders: Amount) -> float:
    """Probability that the images are above the border, which is itself not known exactly."""
    return _border(size, borders).cdf(_decades(size))


def _decades(size: Size) -> float:
    return math.log10(max(counted_per_class(size), 1e-9))


def _border(size: Size, borders: Amount) -> NormalDist:
    """The border in powers of ten of images per class, with its uncertainty."""
    curve = borders.curve
    share, std = _believed(error_reduction(size), curve)
    middle = math.log10(borders.plenty_per_class) + curve.decades_per_reduction * (share - curve.usual_reduction)
    return NormalDist(middle, math.hypot(borders.spread_decades, curve.decades_per_reduction * std))


def _believed(measured: Reduction | None, curve: Curve) -> tuple[float, float]:
    """A measured share drawn toward the usual one, the more so the less sure it is; mean and standard deviation."""
    usual, spread = curve.usual_reduction, curve.spread_reduction
    if measured is None:
        return usual, spread
    trust = spread**2 / (spread**2 + measured.std**2)
    return usual + trust * (measured.share - usual), math.sqrt(1 - trust) * spread


WORTH_A_THOUGHT = 0.1
"""Probability from which a cell is named beside the chosen one. It orders and selects; it is not shown."""

Verdicts = tuple[str, str]
"""Of size and of similarity."""


def neighbors(
    profile: Profile, cell: Cell, *, probabilities: Mapping[Cell, float], verdicts: Mapping[Cell, Verdicts]
) -> tuple[Neighbor, ...]:
    """The other cells that are probable enough to be named, most probable first.

    Args:
        profile: with its verdicts.
        cell: the chosen one.
        probabilities: of every cell.
        verdicts: that lead to each cell.
    """
    others = [other for other in probabilities if other != cell and probabilities[other] >= WORTH_A_THOUGHT]
    found = []
    for other in sorted(others, key=lambda other: -probabilities[other]):
        between = [here != there for here, there in zip(verdicts[cell], verdicts[other], strict=True)]
        decides = _decides(profile, other, by_amount=between[0], by_similarity=between[1])
        found.append(Neighbor(cell=other, probability=probabilities[other], decides=decides))
    return tuple(found)


def _decides(profile: Profile, other: Cell, *, by_amount: bool, by_similarity: bool) -> str:
    sides = [_about_amount(profile)] if by_amount else []
    if by_similarity:
        sides.append(_about_similarity(profile))
    begins = " and ".join(sides)
    return f"{other} begins {begins}. Compare: `analyze DATA --strategy {other} -o {other}.yaml`."


def _about_amount(profile: Profile) -> str:
    each, border = profile.size.counted_per_class, profile.size.plenty_per_class
    assert each is not None and border is not None, "the profile is not judged"
    if profile.size.verdict == "little":
        return f"at {border:,.0f} images per class (here {each:,.0f})"
    return f"below {border:,.0f} images per class (here {each:,.0f})"


def _about_similarity(profile: Profile) -> str:
    similarity = profile.similarity
    assert similarity.threshold is not None, "the profile is not judged"
    side = "below" if similarity.verdict == "similar" else "at"
    return f"{side} a similarity of {similarity.threshold:.2f} (here {similarity.score:.2f})"


TOP = "pooled"
"""What the network's own classifier sees."""

ALL = "all"
"""All stages joined."""

MEANING: dict[Cell, str] = {
    "linear_probe": "a linear classifier on top",
    "stage_probe": "linear classifiers at stages",
    "few_layers": "fine-tune a few layers",
    "many_layers": "fine-tune many layers",
}
"""What each cell's recipe does, in a few words."""

CELLS: dict[tuple[str, str], Cell] = {
    ("little", "similar"): "linear_probe",
    ("little", "different"): "stage_probe",
    ("plenty", "similar"): "few_layers",
    ("plenty", "different"): "many_layers",
}

TRAINED: frozenset[Cell] = frozenset({"few_layers", "many_layers"})
"""Cells whose recipes train layers of the network."""


def place(profile: Profile, borders: Calibration | None = None) -> Profile:
    """The profile with its verdicts, its cell, the neighbors, and what the cell's recipe should score."""
    borders = borders or calibration()
    judged = profile.model_copy(
        update={
            "size": judge_size(profile.size, borders.amount),
            "similarity": _judge_similarity(profile.similarity, borders.similarity),
        }
    )
    cell = cell_of_verdicts(judged)
    probabilities = cell_probabilities(judged, borders)
    return judged.model_copy(
        update={
            "cell": cell,
            "confidence": probabilities[cell],
            "neighbors": _neighbors(judged, cell, probabilities),
            "predicted": predict(judged, cell),
        }
    )


def placed(profile: Profile) -> Profile:
    """The profile as it is where it was placed by a version that kept what the reasons cite, else placed here."""
    return profile if profile.cell is not None and profile.size.plenty_per_class is not None else place(profile)


def _neighbors(profile: Profile, cell: Cell, probabilities: Mapping[Cell, float]) -> tuple[Neighbor, ...]:
    verdicts = {cell: pair for pair, cell in CELLS.items()}
    return neighbors(profile, cell, probabilities=probabilities, verdicts=verdicts)


def cell_of_verdicts(profile: Profile) -> Cell:
    """The cell that the table points to."""
    size, similarity = profile.size.verdict, profile.similarity.verdict
    assert size is not None and similarity is not None, "the profile is not judged"
    return CELLS[size, similarity]


def cell_probabilities(profile: Profile, borders: Calibration | None = None) -> Mapping[Cell, float]:
    """Probability of each cell, the two borders taken as independent; they add up to 1.

    They only choose which neighbors are named: nobody has compared them with outcomes, so no page shows them. What was
    measured has an interval, and so have the borders themselves: the probability that the data lies above a border is
    that of a normal deviate with both variances.
    """
    borders = borders or calibration()
    plenty = probability_of_plenty(profile.size, borders.amount)
    similar = _probability_of_similar(profile.similarity, borders.similarity)
    rows, columns = {"little": 1 - plenty, "plenty": plenty}, {"similar": similar, "different": 1 - similar}
    return {cell: rows[row] * columns[column] for (row, column), cell in CELLS.items()}


def predict(profile: Profile, cell: Cell) -> Predicted:
    """Accuracy on unseen images, from the out-of-fold accuracy of the probe nearest to the recipe.

    It holds for images that are no relatives (same object, same scene) of the training images; where folds may have
    mixed relatives, the basis says so.
    """
    probe = probe_of_cell(profile, cell)
    low, high = _interval(probe, profile, cell)
    basis = f"a linear classifier ({probe.stage}) on held-out folds"
    if cell in TRAINED:
        basis += "; with layers trained it may be higher or lower"
    if warning := leak_warning(profile):
        basis += f"; {warning}"
    return Predicted(accuracy=probe.accuracy, low=low, high=high, basis=basis, majority=_majority(profile))


def _majority(profile: Profile) -> float | None:
    """Share of the largest class among the trainable images; None in profiles that did not count classes."""
    counts: Counter[str] = Counter()
    for split in ("train", "val"):
        if split in profile.splits:
            counts.update(profile.splits[split].per_class)
    return max(counts.values()) / counts.total() if counts.total() else None


def leak_warning(profile: Profile) -> str | None:
    """That the folds may promise too much, with the sign; None where nothing points to it."""
    leak = profile.health.leak
    if leak is None or not leak.suspicious:
        return None
    return f"but the folds may promise too much: {(leak.sign or 'no sign given').rstrip('.')}"


def probe_of_cell(profile: Profile, cell: Cell) -> ProbeScore:
    """The probe that a cell's recipe fits, or for a recipe that trains layers the best one there is."""
    if cell == "linear_probe":
        return profile.probe(TOP)
    return _stage_or_all(profile) if cell == "stage_probe" else best_probe(profile.probes)


def _stage_or_all(profile: Profile) -> ProbeScore:
    """All stages joined, unless a single one has less log loss and is more accurate by more than a standard error.

    Where the folds cannot tell them apart, joined features scored better on test images (benchmarks/results/regret.md).
    """
    best = best_probe(places_of_stage_probes(profile))
    joined = next((probe for probe in profile.probes if probe.stage == ALL), best)
    return best if best.accuracy > joined.accuracy + best.std else joined


def places_of_stage_probes(profile: Profile) -> tuple[ProbeScore, ...]:
    """The probes that a stage probe can be: all but the top layer alone, which is the linear probe."""
    return tuple(probe for probe in profile.probes if probe.stage != TOP)


def best_probe(probes: Iterable[ProbeScore]) -> ProbeScore:
    """The place with the least out-of-fold log loss, which is steadier than accuracy on few images."""
    return min(probes, key=lambda probe: probe.log_loss)


def _interval(probe: ProbeScore, profile: Profile, cell: Cell) -> tuple[float, float]:
    """95 % interval of the accuracy on the test images; of those only their number is known here."""
    test, sampled = profile.splits.get("test"), profile.sampled
    looked_at = min(profile.size.images, sampled.images) if sampled else profile.size.images
    low, high = interval(
        probe.accuracy,
        images=looked_at,
        std=probe.std,
        optimism=FIXED if cell == "linear_probe" else CHOSEN,
        test_images=test.images if test else None,
    )
    return min(low, probe.accuracy), max(high, probe.accuracy)


def _judge_similarity(similarity: Similarity, border: SimilarityBorder) -> Similarity:
    verdict = "similar" if similarity.score >= border.similar else "different"
    similar = _probability_of_similar(similarity, border)
    confidence = similar if verdict == "similar" else 1 - similar
    return similarity.model_copy(update={"verdict": verdict, "threshold": border.similar, "confidence": confidence})


def _probability_of_similar(similarity: Similarity, border: SimilarityBorder) -> float:
    measured = (similarity.high - similarity.low) / (2 * Z95)
    return NormalDist(border.similar, math.hypot(measured, border.spread)).cdf(similarity.score)
