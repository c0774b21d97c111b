"""The data sets that a score is compared with."""

from __future__ import annotations

from finetune_advisor.reporting.charts import references


def test_known_data_sets_are_there_in_the_order_that_people_expect() -> None:
    scores = {each.name: each.score for each in references()}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    photographs = min(scores["ImageNet photographs"], scores["ants and bees"])
    others = max(scores["photographs of food"], scores["textures"])
    assert photographs > others > scores["CIFAR-10 (32 px)"]
    assert scores["CIFAR-10 (32 px)"] > max(scores["tile defects"], scores["handwritten digits"])


def test_every_one_was_measured_at_the_same_stages() -> None:
    stages = {tuple(each.per_stage) for each in references()}
    assert len(stages) == 1
    assert all(0 <= score <= 1 for each in references() for score in (each.score, *each.per_stage.values()))
