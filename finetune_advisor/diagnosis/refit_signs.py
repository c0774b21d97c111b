"""Signs of the second training of a run, on validation images too: its network is the model, and nothing judges it.

Nothing is held out then, so only its training loss is left to look at, beside that of the training that was judged.
"""

from __future__ import annotations

from finetune_advisor.artifacts.diagnosis import Finding
from finetune_advisor.diagnosis.case import Case
from finetune_advisor.diagnosis.curves import tail
from finetune_advisor.diagnosis.edits import change_rate

FAR_BEHIND = 0.2
"""Of the way down from chance: what the second training may lack of the first one, on other images, by chance."""

LOWER = 0.2
"""Times the rate, which was near its limit if one of two trainings went wrong."""


def refit_astray(case: Case) -> Finding | None:
    """The training loss of the second training is no number, or ends far above that of the first one."""
    evidence = _broke_down(case) or _ended_above(case)
    if evidence is None:
        return None
    return Finding(
        sign="refit_astray",
        title="The training on all images went wrong, and its network is the model",
        evidence=evidence,
        meaning="Scores are of the first training, so they say nothing of this. A lower rate is safer for both.",
        edits=change_rate(case.recipe, LOWER, "the training on all images went wrong"),
    )


def refit_told(case: Case) -> str | None:
    """Which training the curves are of, and how far the other one is; None where there is one."""
    if not case.recipe.evaluation.refit:
        return None
    told = "The curves are of the training that was scored; the model is of a second one, on validation images too"
    if not case.refit:
        return f"{told}."
    last = case.refit[-1]
    if last.train_loss is None:
        return f"{told}, which broke down."
    if case.val is None:
        return f"{told}, which is at {case.reached(last)}."
    before = "" if not len(case.curves) else f", {case.curves.train_loss_T[-1]:.3g} the first time"
    return f"{told}: its training loss is {last.train_loss:.3g}{before}."


def _broke_down(case: Case) -> str | None:
    if not case.refit or case.refit[-1].train_loss is not None:
        return None
    last = case.refit[-1]
    said = last.events[-1].partition(" Images of that batch")[0].rstrip(".") if last.events else ""
    return said or f"The loss is no number at step {last.step}"


def _ended_above(case: Case) -> str | None:
    """Only of a second training that has come to its end."""
    if case.val is None or not case.refit or not len(case.curves):
        return None
    again, first = tail(case.refit_loss_T).mean(), tail(case.curves.train_loss_T).mean()
    if again - first < FAR_BEHIND * (case.chance_loss - case.lowest_loss):
        return None
    return f"its training loss ends at {again:.3g}, that of the first training at {first:.3g}"
