"""The 2x2 table: size x similarity -> a cell, named by the recipe it points to.

|                       | very similar                    | very different                         |
|-----------------------|---------------------------------|----------------------------------------|
| very little data      | linear classifier on top        | linear classifiers at different stages |
| quite a lot of data   | fine-tune a few layers          | fine-tune many layers                  |

Source: slides "fine-tune"; F.-F. Li and A. Karpathy, CS231n, "Transfer learning".
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import NormalDist

from finetune_advisor.advice.calibration import Calibration, calibration
from finetune_advisor.artifacts.profile import Cell, Predicted, ProbeScore, Profile, Similarity, Size
from finetune_advisor.metrics import Z95, wilson_interval

TOP = "pooled"
"""What the network's own classifier sees."""

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


def place(profile: Profile, borders: Calibration | None = None) -> Profile:
    """The profile with its verdicts, its cell and what the cell's recipe should score."""
    borders = borders or calibration()
    size = _judge_size(profile.size, borders.amount.plenty_per_class)
    similarity = _judge_similarity(profile.similarity, borders.similarity.similar)
    assert size.verdict is not None and similarity.verdict is not None
    cell = CELLS[size.verdict, similarity.verdict]
    return profile.model_copy(
        update={"size": size, "similarity": similarity, "cell": cell, "predicted": predict(profile, cell)}
    )


def predict(profile: Profile, cell: Cell) -> Predicted:
    """Accuracy on unseen images, from the out-of-fold accuracy of the probe nearest to the recipe.

    The 95 % interval joins the uncertainty of a share of so many images with the spread over folds. It holds for
    images that are no relatives (same object, same scene) of the training images.
    """
    probe = probe_of_cell(profile, cell)
    low, high = wilson_interval(probe.accuracy * profile.size.images, profile.size.images)
    spread = Z95 * probe.std
    trained = cell in ("few_layers", "many_layers")
    return Predicted(
        accuracy=probe.accuracy,
        low=max(0.0, min(low, probe.accuracy - spread)),
        high=min(1.0, max(high, probe.accuracy + spread)),
        basis=f"the {probe.stage} probe, out of fold" + ("; training layers should add to it" if trained else ""),
    )


def probe_of_cell(profile: Profile, cell: Cell) -> ProbeScore:
    """The probe that a cell's recipe fits, or for a recipe that trains layers the best one there is."""
    if cell == "linear_probe":
        return profile.probe(TOP)
    places = stage_probes(profile) if cell == "stage_probe" else profile.probes
    return best_probe(places)


def stage_probes(profile: Profile) -> tuple[ProbeScore, ...]:
    """The probes that a stage probe can be: all but the top layer alone, which is the linear probe."""
    return tuple(probe for probe in profile.probes if probe.stage != TOP)


def best_probe(probes: Iterable[ProbeScore]) -> ProbeScore:
    """The place with the least out-of-fold log loss, which is steadier than accuracy on few images."""
    return min(probes, key=lambda probe: probe.log_loss)


def _judge_size(size: Size, plenty: float) -> Size:
    verdict = "plenty" if size.per_effective_class >= plenty else "little"
    return size.model_copy(update={"verdict": verdict, "threshold": plenty})


def _judge_similarity(similarity: Similarity, border: float) -> Similarity:
    verdict = "similar" if similarity.score >= border else "different"
    spread = max((similarity.high - similarity.low) / (2 * Z95), 1e-9)
    above = NormalDist(similarity.score, spread).cdf(border)
    confidence = 1 - above if verdict == "similar" else above
    return similarity.model_copy(update={"verdict": verdict, "threshold": border, "confidence": confidence})
