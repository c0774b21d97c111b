"""Rules for `strategy` and `head`: which part of the network learns, and what the classifier starts from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from finetune_advisor.advice.choice import KEEP, Choice, points
from finetune_advisor.advice.sentences import (
    amount_sentence,
    percent,
    pointer,
    similarity_sentence,
    trial_sentence,
)
from finetune_advisor.advice.table import ALL, TOP, best_probe, probe_of_cell
from finetune_advisor.artifacts.profile import Cell, ProbeScore, Profile
from finetune_advisor.techniques.initialization import Probe, Zeros

FEW_STAGES, FROZEN_STAGES = 3, 3
"""Stages that the shipped recipes train and freeze, the numbers whose scores were measured."""

FREEZE_LESS_AMOUNT = 0.8
"""Amount from which there is data to train early stages that look different: about five times the border."""

PROBE_START_PER_CLASS = 50
"""Images an effective class below which the classifier starts from a fitted probe. At 60 (ten textures, 602 training
images, one seed, 198 validation images) it was far ahead after one epoch (.833 to .732) and no better after eight (.838
to .828, log loss .618 to .572)."""

_CELL_REASON: dict[Cell, str] = {
    "linear_probe": "So a linear classifier on top; training layers on so few images would sooner harm than help.",
    "stage_probe": "So linear classifiers at different stages; early layers see what ImageNet's objects do not need.",
    "few_layers": "So fine-tune the last layers at a smaller rate; the early ones already fit.",
    "many_layers": "So fine-tune most layers at a smaller rate; only the first ones fit as they are.",
}


def strategy(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """The cell, how sure it is, and which neighbors are worth a thought."""
    if cell != profile.cell:
        tried = "" if profile.trial is None else f" {trial_sentence(profile, profile.trial)}"
        yield Choice("strategy", KEEP, f"Chosen by hand; {pointer(profile)}.{tried}")
        return
    parts = [amount_sentence(profile), similarity_sentence(profile)]
    if profile.trial is not None:
        parts.append(trial_sentence(profile, profile.trial))
    parts.append(_CELL_REASON[cell])
    if profile.confidence is not None:
        parts.append(f"{percent(profile.confidence)} sure.")
    parts += [f"{percent(other.probability)} {other.cell}: {other.decides}" for other in profile.neighbors]
    yield Choice("strategy", KEEP, " ".join(parts))


def depth(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """Where the probe reads the network, or how much of it is trained."""
    if cell == "stage_probe":
        yield _places(profile)
    elif cell == "few_layers":
        yield _trained(profile)
    elif cell == "many_layers":
        yield _frozen(profile)


def _places(profile: Profile) -> Choice:
    best, top = probe_of_cell(profile, "stage_probe"), profile.probe(TOP)
    what = "all stages joined have" if best.stage == ALL else f"{best.stage} has"
    reason = (
        f"On held-out folds {what} a log loss of {best.log_loss:.3f} (accuracy {best.accuracy:.3f} +- {best.std:.3f}), "
        f"the top layer alone {top.log_loss:.3f} (accuracy {top.accuracy:.3f}): {points(best.accuracy - top.accuracy)}."
    )
    single = best_probe(single_stages(profile))
    if best.stage == ALL and single.log_loss < best.log_loss:
        reason += (
            f" {single.stage} alone has {single.log_loss:.3f} (accuracy {single.accuracy:.3f}): the folds "
            "cannot tell them apart, and where they cannot, joined stages did better on test images."
        )
    if top.log_loss <= best.log_loss:
        reason += " By log loss the top layer alone is no worse: linear_probe would do as well."
    return Choice("strategy.stages", ALL if best.stage == ALL else [best.stage], reason)


def _trained(profile: Profile) -> Choice:
    """The stages above the first one whose features serve as well as any: those add nothing as they are."""
    stages = single_stages(profile)
    best = max(stages, key=lambda probe: probe.accuracy)
    served = next(index for index, probe in enumerate(stages) if probe.accuracy >= best.accuracy - best.std)
    above = len(stages) - 1 - served
    count = min(max(FEW_STAGES, min(above, len(stages) // 2)), len(stages))
    reason = (
        f"{stages[served].stage} already scores {stages[served].accuracy:.3f}, as well as any of {len(stages)} stages"
    )
    if above:
        reason += f"; the {above} above it bring nothing as they are."
    else:
        reason += ": every stage below it still adds something, so only the last ones are trained."
    if count > above:
        reason += f" At least {FEW_STAGES} train, as in the shipped recipe."
    elif count < above:
        reason += " At most half of the stages train in few_layers."
    return Choice("strategy.stages", count, reason)


def _frozen(profile: Profile) -> Choice:
    """The first stages, as far as what they see looks like ImageNet."""
    stages, measured = single_stages(profile), profile.similarity.per_stage
    most = len(stages) // 2
    usual = min(FROZEN_STAGES, most)
    if not measured:
        reason = f"Similarity of single stages was not measured: {usual} of {len(stages)}, as in the shipped recipe."
        return Choice("strategy.frozen_stages", usual, reason)
    border, amount = profile.similarity.threshold, profile.size.amount
    assert border is not None and amount is not None, "the profile is not placed"
    # The first stage is left out: between two photographs it differs more than between data sets.
    matching = len(list(takewhile(lambda stage: stage.score >= border, measured[1:])))
    alike = round((matching + 1) / len(measured) * len(stages)) if matching else 0
    least = min(1, most) if amount >= FREEZE_LESS_AMOUNT else usual
    count = min(max(alike, least), most)
    second = measured[min(1, len(measured) - 1)]
    seen = (
        f"Of {len(stages)} stages the first {alike} see what looks like ImageNet"
        if alike
        else (f"Already {second.stage} sees what does not look like ImageNet ({second.score:.2f})")
    )
    return Choice("strategy.frozen_stages", count, f"{seen}; {_limits(count, alike, amount)}")


def _limits(count: int, alike: int, amount: float) -> str:
    if count < alike:
        return f"{count} stay frozen, because many_layers trains at least half of the network."
    if count == alike:
        return f"these {count} stay frozen."
    if amount < FREEZE_LESS_AMOUNT:
        return f"with an amount of {amount:.2f} the first {count} stay frozen all the same: they cost most to train."
    return f"with an amount of {amount:.2f} there is data to train all but the first {count}."


def single_stages(profile: Profile) -> tuple[ProbeScore, ...]:
    """Probes of the pretrained stages, first to last."""
    return tuple(probe for probe in profile.probes if probe.stage not in (TOP, ALL))


def folds(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """Strengths and folds as they were measured, so that the run repeats it."""
    probe = probe_of_cell(profile, cell)
    reason = f"Those that were measured; {probe.strength:g} was the best of them at {probe.stage}."
    yield Choice("strategy.strengths", KEEP, reason)


def batch_norm(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The statistics of the pretraining."""
    reason = (
        f"{profile.splits['train'].images:,} images in small batches give noisier statistics than the pretraining did."
    )
    yield Choice("strategy.batch_norm", KEEP, reason)


def head(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """A fitted probe where images are few, zeros elsewhere."""
    each = profile.size.per_effective_class
    if starts_from_probe(profile):
        top = profile.probe(TOP)
        reason = (
            f"{each:.0f} images a class: start from a fitted probe (accuracy {top.accuracy:.3f} on folds), so that no "
            "noise of a new classifier bends the pretrained layers."
        )
        yield Choice("head.initialization", Probe().model_dump(), reason)
    else:
        reason = (
            f"{each:.0f} images a class: training finds the classifier soon, and zeros cost no pass over the images."
        )
        yield Choice("head.initialization", Zeros().model_dump(), reason)


def starts_from_probe(profile: Profile) -> bool:
    """Whether images are too few for the classifier to be learned together with the layers."""
    return profile.size.per_effective_class < PROBE_START_PER_CLASS
