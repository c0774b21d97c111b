"""Which cell other borders would point to: what calibration searches, and the ablation of either axis. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from statistics import fmean

from regret_figures import Pick, Unit
from regret_recipes import ADVISED

from finetune_advisor.advice.table import ALL, CELLS, TOP, Calibration, calibration, judge_size
from finetune_advisor.records.profile import Size

PLENTY = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 200, 226, 320, 453, 640)
SIMILAR = (0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96, 0.99)
CURVES = (0.0, 0.35, 0.7)


def borders(plenty: float, similar: float, curve: float) -> Calibration:
    """The shipped calibration with other borders."""
    now = calibration()
    amount = now.amount.model_copy(
        update={
            "plenty_per_class": plenty,
            "curve": now.amount.curve.model_copy(update={"decades_per_reduction": max(curve, 1e-9)}),
        }
    )
    return Calibration(amount=amount, similarity=now.similarity.model_copy(update={"similar": similar}))


def verdicts_of(unit: Unit, at: Calibration) -> tuple[str, str]:
    """Size and similarity of a unit, judged by other borders."""
    size = judge_size(Size.model_validate(unit.analysis["size"]), at.amount).verdict
    similar = unit.analysis["similarity"]["score"] >= at.similarity.similar
    assert size is not None
    return size, "similar" if similar else "different"


def table(at: Calibration) -> Pick:
    """What the advisor would take with these borders."""
    return _remembered(lambda unit: ADVISED + CELLS[verdicts_of(unit, at)])


def _remembered(pick: Pick) -> Pick:
    known: dict[tuple[str, int], str] = {}

    def answer(unit: Unit) -> str:
        key = unit.task, unit.seed
        if key not in known:
            known[key] = pick(unit)
        return known[key]

    return answer


def grid() -> list[Calibration]:
    """All borders that are tried, those nearest to the shipped ones first: they win ties."""
    now = calibration()
    curve = now.amount.curve.decades_per_reduction

    def distance(at: tuple[float, float, float]) -> float:
        return abs(at[0] - now.amount.plenty_per_class) / 100 + abs(at[1] - now.similarity.similar) + abs(at[2] - curve)

    return [borders(*at) for at in sorted(product(PLENTY, SIMILAR, CURVES), key=distance)]


def fitted(units: Sequence[Unit], rules: Iterable[Pick]) -> Pick:
    """Of some rules the one with the highest mean accuracy over tasks; the first of those that tie."""
    return max(rules, key=lambda rule: mean_accuracy(units, rule))


def mean_accuracy(units: Sequence[Unit], pick: Pick) -> float:
    tasks: dict[str, list[float]] = {}
    for unit in units:
        tasks.setdefault(unit.task, []).append(unit.accuracy(pick(unit)))
    return fmean(fmean(values) for values in tasks.values())


def fitted_without(units: Sequence[Unit], rules: Sequence[Pick]) -> Pick:
    """For each data set the rule that is best on the others."""
    chosen = {
        data: fitted([unit for unit in units if unit.data != data], rules)
        for data in sorted({unit.data for unit in units})
    }
    return lambda unit: chosen[unit.data](unit)


def by_place_of_the_probe() -> list[Pick]:
    """The advice, stage probes on the place of least log loss, on all stages, or there where it is clearly better."""
    return [_joined_where(lambda _: False), _joined_where(lambda _: True), _joined_where(_no_place_is_better)]


def _joined_where(joins: Callable[[Unit], bool]) -> Pick:
    def pick(unit: Unit) -> str:
        cell = str(unit.analysis["cell"])
        return cell if cell == "stage_probe" and joins(unit) else ADVISED + cell

    return pick


def _no_place_is_better(unit: Unit) -> bool:
    probes = {probe["stage"]: probe for probe in unit.analysis["probes"] if probe["stage"] != TOP}
    best = min(probes.values(), key=lambda probe: probe["log_loss"])
    return bool(best["accuracy"] <= probes[ALL]["accuracy"] + best["std"])


def by_size_alone() -> list[Pick]:
    """Rules that know the amount only: a probe below each border, trained layers above it."""
    cells = product(("linear_probe", "stage_probe"), ("few_layers", "many_layers"))
    return [_by_axis(0, at, "little", *pair) for pair in cells for at in _borders_of_amount()]


def by_similarity_alone() -> list[Pick]:
    """Rules that know the similarity only: one cell for similar data, another for different data."""
    cells = product(("linear_probe", "few_layers"), ("stage_probe", "many_layers"))
    now = calibration()
    ats = [borders(now.amount.plenty_per_class, similar, 0.35) for similar in SIMILAR]
    return [_by_axis(1, at, "similar", *pair) for pair in cells for at in ats]


def _borders_of_amount() -> list[Calibration]:
    similar = calibration().similarity.similar
    return [borders(plenty, similar, curve) for plenty, curve in product(PLENTY, CURVES)]


def _by_axis(axis: int, at: Calibration, word: str, cell: str, other: str) -> Pick:
    return _remembered(lambda unit: ADVISED + (cell if verdicts_of(unit, at)[axis] == word else other))
