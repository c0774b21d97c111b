"""The 2x2 table: size x similarity -> a cell, named by the recipe it points to.

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
from statistics import NormalDist

from finetune_advisor.advice.amount import judge_size, probability_of_plenty
from finetune_advisor.advice.calibration import Calibration, SimilarityBorder, calibration
from finetune_advisor.advice.neighbors import neighbors
from finetune_advisor.artifacts.profile import Cell, Neighbor, Predicted, ProbeScore, Profile, Similarity
from finetune_advisor.metrics import Z95
from finetune_advisor.prediction import CHOSEN, FIXED, interval

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
