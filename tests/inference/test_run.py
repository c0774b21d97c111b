"""An opened run, as a program uses it."""

from __future__ import annotations

import shutil
from itertools import cycle, islice
from pathlib import Path

import pytest
from PIL import Image

from finetune_advisor.errors import RunError
from finetune_advisor.inference.run import Run
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=32", "runtime.workers=0")


@pytest.fixture
def images(image_folder: ImageFolder) -> Path:
    return image_folder({"ants": 8, "bees": 8})


@pytest.fixture
def opened(images: Path, tmp_path: Path) -> Run:
    run = train(load_recipe("linear_probe", [f"data.path={images}", *TINY]), RunDir(tmp_path / "run"))
    return Run.open(run.path, device="cpu")


def test_files_folders_and_images_in_memory_get_the_same_answers(opened: Run, images: Path) -> None:
    paths = sorted(images.rglob("*.png"))
    answers = opened.predict(paths, workers=0)
    assert [answer.path for answer in answers] == paths
    assert all(answer.path is not None and answer.label == answer.path.parent.name for answer in answers)
    assert opened.predict(str(images), workers=0) == answers == opened.predict([images], workers=0)
    assert opened.predict(paths[3], workers=0)[0].probabilities == pytest.approx(answers[3].probabilities, abs=1e-5)
    in_memory = opened.predict([Image.open(path) for path in paths], batch=5)
    for answer, other in zip(answers, in_memory, strict=True):
        assert other.path is None and other.label == answer.label
        assert other.probabilities == pytest.approx(answer.probabilities, abs=1e-5)


def test_an_answer_says_all_it_knows(opened: Run, images: Path) -> None:
    [answer] = opened.predict([images / "ants" / "000.png"], workers=0)
    assert answer.top(1) == [(answer.label, answer.probability)]
    assert list(answer.probabilities) == list(opened.classes) == ["ants", "bees"]
    (images / "empty.png").touch()
    [answer] = opened.predict([images / "empty.png"], workers=0)
    assert (answer.label, answer.probability, answer.probabilities) == (None, None, {})
    assert answer.problem == "the file is empty" and answer.top(3) == []


def test_a_stream_of_any_length_is_answered_as_it_goes(opened: Run, images: Path) -> None:
    endless = cycle(sorted(images.rglob("*.png")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune_advisor.inference.run.BLOCK", 4)
        assert len(list(islice(opened.stream(endless, workers=0), 40))) == 40


def test_a_run_knows_what_it_was_and_how_good(opened: Run, images: Path) -> None:
    assert opened.recipe.strategy.kind == "linear_probe"
    assert opened.metrics["val"]["images"] == 16
    assert any(record.chosen for record in opened.history)
    assert opened.evaluate(images)["accuracy"] == 1


def test_it_needs_no_training_images(opened: Run, images: Path) -> None:
    image = Image.open(images / "ants" / "000.png").copy()
    shutil.rmtree(images)
    assert Run.open(opened.folder, device="cpu").predict(image)[0].label == "ants"


def test_files_and_images_in_memory_are_not_mixed(opened: Run, images: Path) -> None:
    with pytest.raises(TypeError, match="found both"):
        opened.predict([images / "ants" / "000.png", Image.new("RGB", (9, 9))])


def test_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run folder"):
        Run.open(tmp_path / "nowhere")
