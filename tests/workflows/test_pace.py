"""How much is planned into a time, from steps that were timed."""

from __future__ import annotations

import pytest

from finetune_advisor.workflows.pace import LEAST_EPOCHS, Effort, Mark, Pace, largest

PROBE = Pace(start=5.0)
TRAINED = Pace(start=10.0, step=2.0, record=1.0, end=3.0, batch=10, validation=0.2, epochs=8)


def test_a_pace_is_read_off_the_events_of_a_run() -> None:
    """The first step also waits for processes to start, and what follows an evaluation is a step like the others."""
    marks: list[Mark] = [
        ("start", 100.0),
        ("step", 110.0),
        ("step", 112.0),
        ("record", 115.0),
        ("step", 117.0),
        ("step", 119.0),
        ("record", 124.0),
        ("end", 131.0),
    ]
    pace = Pace.of(marks, batch=16, validation=0.2, epochs=8)
    assert (pace.start, pace.step, pace.record, pace.end) == (10.0, 2.0, 4.0, 7.0)


def test_seconds_add_up() -> None:
    """100 images: 80 train in 8 steps of 2 s, 20 validate at a step's speed of 0.2 s an image; 50 are judged on."""
    epoch = 8 * 2.0 + 1.0 + 20 * 0.2
    ending = 1.0 + 3.0 + (2 * 20 + 50) * 0.2
    assert TRAINED.seconds(Effort(100, 3), 50) == pytest.approx(10.0 + 3 * epoch + ending)
    assert TRAINED.seconds(Effort(100, 99), 50) == TRAINED.seconds(Effort(100, 8), 50), "never more than the recipe's"
    assert PROBE.seconds(Effort(100, 3), 50) == 5.0


@pytest.mark.parametrize("seconds", [75, 120, 200, 300, 2000])
def test_what_is_planned_fits_and_a_little_more_would_not(seconds: float) -> None:
    effort = largest([PROBE, TRAINED], seconds, images=400, least=20, judges=0.5)
    assert effort is not None
    taken = 5.0 + TRAINED.seconds(effort, effort.images // 2)
    assert taken <= seconds
    if effort == Effort(400, 8):
        return
    more = Effort(400, effort.epochs + 1) if effort.images == 400 else Effort(effort.images + 10, effort.epochs)
    assert 5.0 + TRAINED.seconds(more, more.images // 2) > seconds
    assert effort.images == 400 or effort.epochs == LEAST_EPOCHS, "epochs go before images"


def test_where_not_even_the_least_fits_nothing_is_planned() -> None:
    assert largest([TRAINED], 20, images=400, least=20, judges=0.5) is None


def test_probes_alone_take_all_images() -> None:
    assert largest([PROBE, PROBE], 11, images=400, least=20, judges=0.5) == Effort(400, 0)
