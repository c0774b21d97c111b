"""Which stages a strategy trains, and from when on."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.strategy import (
    AllLayers,
    FewLayers,
    FineTuning,
    FromScratch,
    GradualUnfreezing,
    LinearProbe,
    ManyLayers,
    ProbeThenFineTune,
    StageProbe,
    Strategy,
)

STAGES = ("stem", "layer1", "layer2", "layer3", "head")


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        (LinearProbe(), ()),
        (StageProbe(), ()),
        (FewLayers(stages=1), ("layer3", "head")),
        (FewLayers(stages=4), STAGES),
        (ManyLayers(frozen_stages=0), STAGES),
        (ManyLayers(frozen_stages=1), ("layer1", "layer2", "layer3", "head")),
        (ManyLayers(frozen_stages=4), ("head",)),
        (AllLayers(), STAGES),
        (FromScratch(), STAGES),
        (GradualUnfreezing(), STAGES),
        (GradualUnfreezing(stages=2), ("layer2", "layer3", "head")),
        (ProbeThenFineTune(), STAGES),
        (ProbeThenFineTune(stages=1, frozen_epochs=3), ("layer3", "head")),
    ],
)
def test_the_head_trains_with_the_stages_asked_for(strategy: Strategy, trained: tuple[str, ...]) -> None:
    assert strategy.trainable(STAGES) == trained


@pytest.mark.parametrize(
    ("strategy", "epochs"),
    [
        (FewLayers(stages=1), (0, 0)),
        (AllLayers(), (0, 0, 0, 0, 0)),
        (ProbeThenFineTune(stages=2), (0, 0, 0)),
        (ProbeThenFineTune(stages=2, frozen_epochs=3), (3, 3, 3)),
        (GradualUnfreezing(), (4, 3, 2, 1, 1)),
        (GradualUnfreezing(stages_per_unfreeze=2), (2, 2, 1, 1, 1)),
        (GradualUnfreezing(stages_per_unfreeze=3, unfreeze_every=2), (4, 2, 2, 2, 2)),
        (GradualUnfreezing(stages=3, unfreeze_every=2), (6, 4, 2, 2)),
        (GradualUnfreezing(stages_per_unfreeze=99), (1, 1, 1, 1, 1)),
    ],
)
def test_stages_join_from_the_top_down_at_their_epochs(strategy: FineTuning, epochs: tuple[int, ...]) -> None:
    assert tuple(strategy.unfreezing(STAGES).items()) == tuple(zip(strategy.trainable(STAGES), epochs, strict=True))
    if "stages" not in type(strategy).model_fields or strategy.stages != "all":  # type: ignore[attr-defined]
        assert strategy.fewest_epochs == 1 + max(epochs)


@pytest.mark.parametrize(
    "strategy",
    [FewLayers(stages=5), ManyLayers(frozen_stages=5), GradualUnfreezing(stages=5), ProbeThenFineTune(stages=5)],
)
def test_more_stages_than_there_are_is_an_error_that_counts_them(strategy: Strategy) -> None:
    with pytest.raises(BackboneError, match="only 4 pretrained stages: stem, layer1, layer2, layer3") as caught:
        strategy.trainable(STAGES)
    assert "=4`" in str(caught.value.hint)


@pytest.mark.parametrize("stages", ["most", (), (1,)])
def test_a_stage_probe_takes_all_stages_or_a_list_of_names(stages: object) -> None:
    with pytest.raises(ValidationError):
        StageProbe.model_validate({"kind": "stage_probe", "stages": stages})
