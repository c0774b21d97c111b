"""Which stages a strategy trains."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.strategy import FewLayers, LinearProbe, ManyLayers, StageProbe, Strategy

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
    ],
)
def test_the_head_trains_with_the_stages_asked_for(strategy: Strategy, trained: tuple[str, ...]) -> None:
    assert strategy.trainable(STAGES) == trained


@pytest.mark.parametrize("strategy", [FewLayers(stages=5), ManyLayers(frozen_stages=5)])
def test_more_stages_than_there_are_is_an_error_that_counts_them(strategy: Strategy) -> None:
    with pytest.raises(BackboneError, match="only 4 pretrained stages: stem, layer1, layer2, layer3") as caught:
        strategy.trainable(STAGES)
    assert "=4`" in str(caught.value.hint)


@pytest.mark.parametrize("stages", ["most", (), (1,)])
def test_a_stage_probe_takes_all_stages_or_a_list_of_names(stages: object) -> None:
    with pytest.raises(ValidationError):
        StageProbe.model_validate({"kind": "stage_probe", "stages": stages})
