"""Rules for `strategy` and `head`: which part of the network learns, and what the classifier starts from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from finetune_advisor.advice.choice import KEEP, Choice, Cite, Reason, cite, say
from finetune_advisor.advice.sentences import amount_reason, pointer, similarity_reason
from finetune_advisor.advice.table import ALL, CELLS, TOP, best_probe, probe_of_cell
from finetune_advisor.records.profile import Cell, ProbeScore, Profile
from finetune_advisor.techniques.initialization import Probe, Zeros

FEW_STAGES, FROZEN_STAGES = 3, 3
"""Stages that the shipped recipes train and freeze, the numbers whose scores were measured."""

FREEZE_LESS_AMOUNT = 0.8
"""Amount from which there is data to train early stages that look different: about five times the border."""

PROBE_START_PER_CLASS = 50
"""Images per class below which the classifier starts from a fitted probe. At 60 (ten textures, 602 training
images, one seed, 198 validation images) it was far ahead after one epoch (.833 to .732) and no better after eight (.838
to .828, log loss .618 to .572)."""


def strategy(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """The cell with the figures that placed the data there, and which others are near."""
    yield Choice("strategy", KEEP, _by_hand(profile) if cell != profile.cell else _placed(profile))


def _by_hand(profile: Profile) -> Reason:
    return say("Chosen by hand; {pointer}.", pointer=pointer(profile))


def _placed(profile: Profile) -> Reason:
    near = ", ".join(neighbor.cell for neighbor in profile.neighbors)
    return say(
        "{amount}; {similarity}.{near}",
        amount=_sentence(amount_reason(profile), end=""),
        similarity=similarity_reason(profile, interval=_near_by_similarity(profile)),
        near=f" Near a border: {near}." if near else "",
    )


def _near_by_similarity(profile: Profile) -> bool:
    """Whether a cell is named that lies across the border of similarity: then the interval decided that."""
    columns = {cell: column for (_, column), cell in CELLS.items()}
    others = {columns[neighbor.cell] for neighbor in profile.neighbors}
    return others - {profile.similarity.verdict} != set()


def _sentence(reason: Reason, *, end: str = ".") -> Reason:
    """A part of a sentence that begins one; a figure at its beginning needs no capital."""
    template = reason.template
    return Reason(f"{template[:1].upper()}{template[1:]}{end}", reason.parts, reason.also)


def depth(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """Where the probe reads the network, or how much of it is trained."""
    if cell == "stage_probe":
        yield _places(profile)
    elif cell == "few_layers":
        yield _trained(profile)
    elif cell == "many_layers":
        yield _frozen(profile)


def _places(profile: Profile) -> Choice:
    """All stages joined, or a single one; the top layer alone is the linear probe."""
    best, top = probe_of_cell(profile, "stage_probe"), profile.probe(TOP)
    single = best_probe(single_stages(profile) or (best,))
    would_do: Reason | str = ""
    if top.log_loss <= best.log_loss:
        would_do = say(" linear_probe has no more ({top:.3f}).", top=cite(profile, f"probes.{TOP}.log_loss"))
    figures: dict[str, object] = {
        "single": single.stage,
        "loss": cite(profile, f"probes.{single.stage}.log_loss"),
        "would_do": would_do,
    }
    if any(probe.stage == ALL for probe in profile.probes):
        figures["joined"] = cite(profile, "probes.all.log_loss")
    accuracies: dict[str, object] = {}
    if "joined" in figures and single.log_loss < profile.probe(ALL).log_loss:
        accuracies = {
            "accuracy": cite(profile, f"probes.{single.stage}.accuracy"),
            "joined_accuracy": cite(profile, "probes.all.accuracy"),
            "std": cite(profile, f"probes.{single.stage}.std"),
        }
    if "joined" not in figures:
        template = "Of the single stages {single} has the least log loss on held-out folds: {loss:.3f}."
    elif not accuracies:
        template = "On held-out folds all stages joined have a log loss of {joined:.3f}, {single} alone {loss:.3f}."
    elif best.stage == ALL:
        template = (
            "{single} alone has less log loss ({loss:.3f} to {joined:.3f}) but is not more accurate by one standard "
            "error ({accuracy:.3f} to {joined_accuracy:.3f} ± {std:.3f}): joined."
        )
    else:
        template = (
            "{single} has less log loss than all stages joined ({loss:.3f} to {joined:.3f}) and is more accurate by "
            "one standard error ({accuracy:.3f} to {joined_accuracy:.3f} ± {std:.3f})."
        )
    value = ALL if best.stage == ALL else [best.stage]
    reason = Reason(f"{template}{{would_do}}", {**figures, **accuracies}, (cite(profile, "probes"),))
    return Choice("strategy.stages", value, reason)


def _trained(profile: Profile) -> Choice:
    """The stages above the first one whose features serve as well as any: those add nothing as they are."""
    stages = single_stages(profile)
    best = max(stages, key=lambda probe: probe.accuracy)
    served = next(index for index, probe in enumerate(stages) if probe.accuracy >= best.accuracy - best.std)
    above, half = len(stages) - 1 - served, len(stages) // 2
    count = min(max(FEW_STAGES, min(above, half)), len(stages))
    figures: dict[str, object] = {
        "stage": stages[served].stage,
        "accuracy": cite(profile, f"probes.{stages[served].stage}.accuracy"),
        "best": best.stage,
        "most": cite(profile, f"probes.{best.stage}.accuracy"),
        "std": cite(profile, f"probes.{best.stage}.std"),
        "above": above,
        "count": count,
    }
    template = (
        "{stage} ({accuracy:.3f}) is within one standard error of the best stage, {best} ({most:.3f} ± {std:.3f})"
    )
    if not above:
        template = "No earlier stage is within one standard error of the last one ({stage}, {accuracy:.3f} ± {std:.3f})"
    elif stages[served] is best:
        template = "{stage} is the best stage ({accuracy:.3f} ± {std:.3f})"
    if above:
        template += ": what lies above it adds nothing as it is"
    limit = "; at least {count} stages are trained" if count > above else "; at most {count} stages are trained"
    template += "." if count == above else f"{limit}."
    return Choice("strategy.stages", count, Reason(template, figures, (cite(profile, "probes"),)))


def _frozen(profile: Profile) -> Choice:
    """The first stages, as far as what they see looks like ImageNet."""
    stages, measured = single_stages(profile), profile.similarity.per_stage
    most = len(stages) // 2
    usual = min(FROZEN_STAGES, most)
    per_stage = cite(profile, "similarity.per_stage")
    if not measured:
        reason = say("Default of the recipe; the similarity of single stages was not measured.", per_stage)
        return Choice("strategy.frozen_stages", usual, reason)
    border, amount = profile.similarity.threshold, profile.size.amount
    assert border is not None and amount is not None, "the profile is not placed"
    # The first stage is left out: between two photographs it differs more than between data sets.
    matching = len(list(takewhile(lambda stage: stage.score >= border, measured[1:])))
    alike = round((matching + 1) / len(measured) * len(stages)) if matching else 0
    least = min(1, most) if amount >= FREEZE_LESS_AMOUNT else usual
    count = min(max(alike, least), most)
    second = measured[min(1, len(measured) - 1)].stage
    figures: dict[str, object] = {
        "alike": alike,
        "stages": len(stages),
        "second": second,
        "score": cite(profile, f"similarity.per_stage.{second}.score"),
        "border": border,
        "limit": _limit(profile, count, alike, usual),
    }
    template = "{second} already differs from ImageNet (similarity {score:.2f}, border {border:.2f}); {limit}"
    if alike:
        template = (
            "The first {alike} of {stages} stages are similar to ImageNet ({second} {score:.2f}, border {border:.2f}); "
            "{limit}"
        )
    return Choice("strategy.frozen_stages", count, Reason(template, figures, (per_stage,)))


def _limit(profile: Profile, count: int, alike: int, usual: int) -> Reason:
    if count < alike:
        return say("at most half stay frozen: {count}.", count=count)
    if count == alike >= usual:
        return say("these stay frozen.")
    below = cite(profile, "size.amount").value < FREEZE_LESS_AMOUNT
    return say(
        "at an amount of data of {amount:.2f}, {side} {border:g}, stages up to number {count} stay frozen.",
        amount=cite(profile, "size.amount"),
        side="below" if below else "at least",
        border=FREEZE_LESS_AMOUNT,
        count=count,
    )


def single_stages(profile: Profile) -> tuple[ProbeScore, ...]:
    """Probes of the pretrained stages, first to last."""
    return tuple(probe for probe in profile.probes if probe.stage not in (TOP, ALL))


def strengths(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """All are tried again by the run; which one the analysis chose, and by which rule."""
    probe = probe_of_cell(profile, cell)
    if probe.least_loss_strength is None:
        return
    where = f"probes.{probe.stage}"
    figures: dict[str, object] = {
        "stage": probe.stage,
        "chosen": cite(profile, f"{where}.strength"),
        "least": cite(profile, f"{where}.least_loss_strength"),
    }
    template = "Searched again by the run. In the analysis {chosen:g} had the least log loss ({stage}, held-out folds)."
    if probe.strength != probe.least_loss_strength:
        template = (
            "Searched again by the run. The analysis took {chosen:g} ({stage}): the strongest within one standard "
            "error of the least log loss, that of {least:g}."
        )
    yield Choice("strategy.strengths", KEEP, Reason(template, figures, _places_compared(profile, cell)))


def _places_compared(profile: Profile, cell: Cell) -> tuple[Cite, ...]:
    """What decided where the probe stands whose strength is named."""
    return () if cell == "linear_probe" else (cite(profile, "probes"),)


def head(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """A fitted probe where images are few, zeros elsewhere."""
    fitted = starts_from_probe(profile)
    reason = say(
        "{counted:,.0f} images per class, {compared} {border}: {start}.",
        counted=cite(profile, "size.counted_per_class"),
        compared="fewer than" if fitted else "at least",
        border=PROBE_START_PER_CLASS,
        start="the classifier starts from a fitted probe" if fitted else "training finds the classifier from zeros",
    )
    yield Choice("head.initialization", (Probe() if fitted else Zeros()).model_dump(), reason)


def starts_from_probe(profile: Profile) -> bool:
    """Whether images are too few for the classifier to be learned together with the layers."""
    counted = profile.size.counted_per_class
    assert counted is not None, "the profile is not placed"
    return counted < PROBE_START_PER_CLASS
