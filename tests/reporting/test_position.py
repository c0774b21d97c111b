"""The point in the table lies where the verdicts say, with the borders in the middle."""

from __future__ import annotations

import pytest

from finetune_advisor.cli.analyze import COLUMN, ROWS, table_map
from finetune_advisor.records.profile import Profile
from finetune_advisor.reporting.charts import Position, position


def placed(full: Profile, *, amount: float | None, score: float, border: float = 0.5) -> Profile:
    size = full.size.model_copy(
        update={
            "amount": amount,
            "threshold": border if amount is not None else 200,
            "verdict": "plenty" if amount is not None and amount >= border else "little",
        }
    )
    verdict = "similar" if score >= 0.85 else "different"
    similarity = full.similarity.model_copy(
        update={"score": score, "low": score - 0.02, "high": score + 0.02, "threshold": 0.85, "verdict": verdict}
    )
    return full.model_copy(update={"size": size, "similarity": similarity})


@pytest.mark.parametrize(("amount", "down"), [(0.0, 0.0), (0.2, 0.25), (0.4, 0.504), (0.7, 0.75), (1.0, 1.0)])
def test_the_amount_is_drawn_with_its_border_in_the_middle(full: Profile, amount: float, down: float) -> None:
    assert position(placed(full, amount=amount, score=0.3, border=0.4)).down == pytest.approx(down)


@pytest.mark.parametrize(("score", "across"), [(1.0, 0.0), (0.925, 0.25), (0.85, 0.496), (0.425, 0.75), (0.0, 1.0)])
def test_the_score_is_drawn_with_its_border_in_the_middle(full: Profile, score: float, across: float) -> None:
    assert position(placed(full, amount=0.3, score=score)).across == pytest.approx(across)


def test_the_interval_holds_the_point(full: Profile) -> None:
    place = position(placed(full, amount=0.3, score=0.6))
    assert place.left < place.across < place.right


def test_without_an_amount_images_a_class_are_drawn(full: Profile) -> None:
    size = full.size.model_copy(update={"amount": None, "threshold": 800.0})
    assert position(full.model_copy(update={"size": size})).down == pytest.approx(0.25)


@pytest.mark.parametrize("amount", [0.0, 0.4999, 0.5, 0.51, 1.0])
@pytest.mark.parametrize("score", [0.0, 0.849, 0.85, 1.0])
def test_terminal_and_page_put_the_point_into_the_same_cell(full: Profile, amount: float, score: float) -> None:
    profile = placed(full, amount=amount, score=score)
    place: Position = position(profile)
    rows = [line for line in table_map(profile).plain.splitlines()[2:] if "├" not in line]
    (row,) = [number for number, line in enumerate(rows) if "●" in line]
    column = rows[row].replace("│", "").index("●") - 12
    assert (row >= ROWS) == (place.down > 0.5) == (profile.size.verdict == "plenty")
    assert (column >= COLUMN) == (place.across > 0.5) == (profile.similarity.verdict == "different")


def test_the_point_never_covers_a_cell_s_name(full: Profile) -> None:
    for amount in (0.0, 0.25, 0.5, 0.75, 1.0):
        for score in (0.0, 0.5, 0.9, 1.0):
            text = table_map(placed(full, amount=amount, score=score)).plain
            assert all(name in text for name in ("linear_probe", "stage_probe", "few_layers", "many_layers"))
            assert "linear classifiers at stages" in text and "fine-tune many layers" in text
