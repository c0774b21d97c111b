"""Steps that are taken to learn something, and of which nothing stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile

from finetune_advisor.techniques.schedule import Schedule
from finetune_advisor.training.loop import fit
from finetune_advisor.training.network import Setup
from finetune_advisor.training.state import TrainState
from finetune_advisor.training.watch import Progress


@contextmanager
def rehearsal(setup: Setup) -> Iterator[TrainState]:
    """A state to train with while the block runs; afterward the network is what it was, to the bit."""
    net = setup.backbone.net
    before = {name: value.clone() for name, value in net.state_dict().items()}
    try:
        yield setup.start()
    finally:
        net.load_state_dict(before)
        net.zero_grad(set_to_none=True)


def take_steps(
    setup: Setup,
    state: TrainState,
    count: int,
    *,
    on_step: Callable[[Progress], None],
    schedule: Schedule | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Take the run's own first steps, data loading included and with everything unfrozen, and evaluate nothing.

    Args:
        setup: whose images, network and method are used.
        state: of a rehearsal.
        count: how many.
        on_step: told about every step.
        schedule: in place of the recipe's; `count` steps are all of its progress.
        enough: asked before each step whether to stop.

    Raises:
        DataError, NotFinite: see `fit`.
    """
    unevaluated = count + 1
    all_unfrozen = max(group.epoch for group in setup.groups)
    method = replace(
        setup.method, schedule=schedule or setup.method.schedule, steps=unevaluated, steps_per_epoch=unevaluated
    )
    batches = takewhile(lambda _: not enough(), setup.feed.batches(0, count))
    for _ in fit(
        state,
        batches,
        method,
        forward=setup.feed.forward,
        set_mode=lambda: setup.set_mode(epoch=all_unfrozen),
        evaluate=setup.evaluate,
        on_step=on_step,
    ):
        raise AssertionError("a rehearsal evaluates nothing")
