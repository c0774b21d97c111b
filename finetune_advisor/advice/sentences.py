"""What was measured and what follows from it, in sentences with their numbers."""

from __future__ import annotations

from finetune_advisor.advice.amount import error_reduction, plenty_per_class
from finetune_advisor.advice.table import MEANING, cell_of_verdicts
from finetune_advisor.artifacts.profile import Cell, Profile, Trial

EVEN_SHARE = 0.9
"""Classes count as even when their effective number is at least this share of their number."""


def amount_sentence(profile: Profile) -> str:
    """How much data there is, and where plenty begins in images a class."""
    size = profile.size
    classes = f"{len(profile.classes)} classes"
    if size.effective_classes < EVEN_SHARE * len(profile.classes):
        classes += f" that weigh like {size.effective_classes:.1f} even ones"
    border = plenty_per_class(size)
    each = _beside(size.per_effective_class, border, below=size.verdict == "little", digits=0)
    reduction = error_reduction(size)
    curve = ""
    if reduction is not None:
        curve = f" for such a learning curve: ten times the images, {100 * reduction.share:.0f} % fewer errors"
    sampled = ""
    if profile.sampled is not None:
        sampled = f" Measured on a sample of {profile.sampled.images:,} of {profile.sampled.of:,} images."
    return (
        f"{size.images:,} images in {classes}: {each} a class, {size.verdict} "
        f"(plenty begins near {border:.0f}{curve}).{sampled}"
    )


def similarity_sentence(profile: Profile) -> str:
    """How similar the images are to ImageNet, and where similar begins."""
    similarity = profile.similarity
    assert similarity.threshold is not None, "the profile is not placed"
    score = _beside(similarity.score, similarity.threshold, below=similarity.verdict == "different", digits=2)
    word = "Similar to" if similarity.verdict == "similar" else "Different from"
    return (
        f"{word} ImageNet: score {score} [{similarity.low:.2f}, {similarity.high:.2f}], "
        f"similar begins at {similarity.threshold:.2f}."
    )


def cell_sentence(profile: Profile, cell: Cell) -> str:
    """Which cell it is, and how sure that is."""
    what = f"{cell}, {MEANING[cell]}"
    if cell != profile.cell:
        return f"Chosen by hand: {what}; {pointer(profile)}."
    if profile.trial is not None and profile.trial.decided:
        return f"A trial of {profile.trial.minutes:g} min decided: {what}."
    assert profile.confidence is not None, "the profile is not placed"
    sure = percent(profile.confidence)
    others = ", ".join(f"{percent(neighbor.probability)} {neighbor.cell}" for neighbor in profile.neighbors)
    return f"Together: {what} ({sure} sure{f'; {others}' if others else ''})."


def pointer(profile: Profile) -> str:
    """What leads to the profile's cell."""
    settled = profile.trial is not None and profile.trial.decided
    return f"a trial decided for {profile.cell}" if settled else f"the table points to {profile.cell}"


def why(profile: Profile, cell: Cell) -> tuple[str, str, str]:
    """Three lines: how much data, how similar, and what follows."""
    return amount_sentence(profile), similarity_sentence(profile), cell_sentence(profile, cell)


def trial_sentence(profile: Profile, trial: Trial) -> str:
    """What a trial showed, with the last score of each recipe that ran, and how sure that is."""
    table = cell_of_verdicts(profile)
    found = f"({trial_scores(trial)})"
    if not trial.decided:
        sentence = f"A trial of {trial.minutes:g} min could not tell {found}: {table} was kept."
    elif trial.winner == table:
        sentence = f"A trial of {trial.minutes:g} min decided for {trial.winner} {found}, where the table points too."
    else:
        sentence = (
            f"A trial of {trial.minutes:g} min decided for {trial.winner} {found}; the table alone points to {table}."
        )
    if trial.unfinished:
        sentence += " Its last round was not finished and does not count."
    return sentence


def trial_scores(trial: Trial) -> str:
    """The last score of each recipe that ran, best first, and what the best one is ahead by."""
    last = {rung.cell: rung for rung in sorted(trial.rungs, key=lambda rung: rung.rung)}
    ranked = sorted(last.values(), key=lambda rung: (rung.rung, rung.accuracy, -rung.log_loss), reverse=True)
    scores = ", ".join(f"{rung.cell} {rung.accuracy:.3f} on {rung.images} images" for rung in ranked)
    if trial.lead is None or trial.lead_std is None:
        return scores
    return f"{scores}; ahead by {100 * trial.lead:.1f} +- {100 * trial.lead_std:.1f} points"


def percent(probability: float) -> str:
    """A probability in whole percent that never claims certainty."""
    if probability > 0.99:
        return "> 99 %"
    return "< 1 %" if probability < 0.01 else f"{100 * probability:.0f} %"


def _beside(value: float, border: float, *, below: bool, digits: int) -> str:
    """A number with as many digits as it takes not to read as the border, where it lies below it."""
    while below and f"{value:.{digits}f}" == f"{border:.{digits}f}" and digits < 6:
        digits += 1
    return f"{value:.{digits}f}"
