"""A finished run answers questions: here, in plain timm, and long after its images are gone.

Shapes: N images, B batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune_advisor.errors import DataError, RunError
from finetune_advisor.inference.predictor import BATCH, Predictor, evaluate_on
from finetune_advisor.inference.run import Run
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train

COLORS = {"ants": (200, 60, 60), "bees": (60, 200, 60), "Ünïcode, wasps": (60, 60, 200)}
TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=64", "runtime.workers=0")
SETTINGS = {
    "linear_probe": (),
    "stage_probe": ("strategy.stages=[blocks.1, blocks.4, pooled]",),
    "few_layers": ("budget.epochs=1", "optimizer.batch=8", "optimizer.lr=0.1"),
}


def write_images(root: Path, count: int, *, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise_HWC = rng.normal(color, 25.0, (70, 90, 3))
            Image.fromarray(noise_HWC.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """A finished run of three strategies; their images are deleted."""
    folder = tmp_path_factory.mktemp("inference")
    data = write_images(folder / "images", 8)
    finished = {}
    for name, settings in SETTINGS.items():
        recipe = load_recipe(name, [f"data.path={data}", *TINY, *settings])
        finished[name] = train(recipe, RunDir(folder / name))
    shutil.rmtree(data)
    return finished


def test_images_of_12_bits_are_seen_as_their_8_bit_twins_in_training_and_prediction(tmp_path: Path) -> None:
    twins, wide = write_images(tmp_path / "twins", 8), tmp_path / "wide"
    for path in twins.rglob("*.png"):
        gray = Image.open(path).convert("L")
        gray.save(path)
        place = wide / path.relative_to(twins)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(np.asarray(gray) * (4095 / 255)).astype(np.uint16)).save(place)
    runs = {}
    for folder, settings in ((twins, ()), (wide, ("preprocessing.value_range=[0,4095]",))):
        recipe = load_recipe("linear_probe", [f"data.path={folder}", *TINY, *settings])
        runs[folder] = train(recipe, RunDir(tmp_path / "runs" / folder.name))
    settings = json.loads((runs[wide].model / "config.json").read_text())["finetune_advisor"]["preprocessing"]
    assert settings["value_range"] == [0, 4095]
    found = {}
    for trained in (twins, wide):
        run = Run.open(runs[trained], device="cpu")
        shown = (twins, wide) if trained is wide else (twins,)
        for images in shown:
            found[trained, images] = [each.probabilities for each in run.predict(images, workers=0)]
    in_memory = Run.open(runs[wide], device="cpu").predict([Image.open(each) for each in sorted(wide.rglob("*.png"))])
    by_path = [each.probabilities for each in Run.open(runs[wide], device="cpu").predict(sorted(wide.rglob("*.png")))]
    assert found[twins, twins] == found[wide, twins] == found[wide, wide]
    assert [each.probabilities for each in in_memory] == by_path


@pytest.fixture(params=SETTINGS)
def run(runs: dict[str, RunDir], request: pytest.FixtureRequest) -> RunDir:
    return runs[request.param]


@pytest.fixture
def probe(runs: dict[str, RunDir]) -> RunDir:
    return runs["linear_probe"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """New images of the same classes."""
    return write_images(tmp_path / "new", 2, seed=1)


OPEN_WITH_TIMM = """
import sys
{imports}
import torch
from PIL import Image
torch.set_num_threads(1)
folder, *runs = sys.argv[1:]
x = torch.load(f"{{folder}}/x.pt")
picture = Image.open(f"{{folder}}/picture.png").convert("RGB")
for run in runs:
    net = timm.create_model(f"local-dir:{{run}}/model", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    with torch.no_grad():
        answers = {{"logits": net(x), "picture": net(transform(picture)[None]).softmax(1)[0]}}
    torch.save(answers, f"{{folder}}/{{run.rpartition('/')[2]}}.pt")
print("finetune_advisor" in sys.modules)
"""


@pytest.mark.parametrize(
    ("imports", "names", "ours"),
    [
        ("import timm", ("linear_probe", "few_layers"), "False"),
        ("import finetune_advisor; import timm", ("stage_probe",), "True"),
        ("import timm; import finetune_advisor", ("stage_probe",), "True"),
    ],
    ids=["plain timm", "ours first", "timm first"],
)
def test_timm_opens_the_model_and_gives_the_same_answers(
    runs: dict[str, RunDir], images: Path, tmp_path: Path, imports: str, names: tuple[str, ...], ours: str
) -> None:
    picture = images / "ants" / "0.png"
    shutil.copy(picture, tmp_path / "picture.png")
    x_BCHW = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.save(x_BCHW, tmp_path / "x.pt")
    script = OPEN_WITH_TIMM.format(imports=imports)
    folders = [str(runs[name].path) for name in names]
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *folders],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == ours
    for name in names:
        predictor = Predictor.open(runs[name])
        theirs = torch.load(tmp_path / f"{name}.pt")
        with torch.no_grad():
            torch.testing.assert_close(theirs["logits"], predictor.net(x_BCHW), rtol=1e-5, atol=1e-5)
        [answer] = predictor.predict([picture], workers=0)
        assert answer.probabilities_K is not None
        np.testing.assert_allclose(theirs["picture"], answer.probabilities_K, atol=0.02)


def test_the_model_knows_its_classes_and_needs_no_training_images(run: RunDir, images: Path) -> None:
    predictor = Predictor.open(run)
    assert set(predictor.classes) == set(COLORS)
    paths = sorted(images.rglob("*.png"))
    answers = list(predictor.predict(paths, workers=0))
    assert [answer.path for answer in answers] == paths
    for answer in answers:
        assert answer.probabilities_K is not None
        assert answer.probabilities_K.sum() == pytest.approx(1)


def test_a_probe_is_right_about_new_images(probe: RunDir, images: Path) -> None:
    predictor = Predictor.open(probe)
    for answer in predictor.predict(sorted(images.rglob("*.png")), workers=0):
        assert answer.probabilities_K is not None
        assert predictor.classes[answer.probabilities_K.argmax()] == answer.path.parent.name


def test_an_unreadable_file_in_the_middle_has_its_place_and_its_reason(probe: RunDir, images: Path) -> None:
    good = sorted(images.rglob("*.png"))
    broken, gone = images / "broken.png", images / "gone.png"
    broken.write_bytes(b"")
    paths = [good[0], broken, good[1], gone, *[good[2]] * BATCH, broken]
    answers = list(Predictor.open(probe).predict(paths, workers=0))
    assert [answer.path for answer in answers] == paths
    problems = {index: answer.problem for index, answer in enumerate(answers) if answer.problem}
    assert problems == {1: "the file is empty", 3: "the file is gone", len(paths) - 1: "the file is empty"}
    assert all((answer.probabilities_K is None) == (answer.problem is not None) for answer in answers)


def test_only_unreadable_files(probe: RunDir, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(BATCH + 1)]
    assert [answer.problem for answer in Predictor.open(probe).predict(paths, workers=0)] == ["the file is gone"] * len(
        paths
    )


def test_an_answer_does_not_depend_on_its_neighbors(run: RunDir, images: Path) -> None:
    paths = sorted(images.rglob("*.png"))
    predictor = Predictor.open(run)
    together_NK = predictor.probabilities(paths, workers=0)
    alone_NK = np.concatenate([predictor.probabilities([path], workers=0) for path in paths])
    np.testing.assert_allclose(together_NK, alone_NK, rtol=1e-4, atol=1e-6)


def test_probabilities_of_an_image_that_vanished(probe: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone\.png cannot be read any more: the file is gone"):
        Predictor.open(probe).probabilities([tmp_path / "gone.png"], workers=0)


@pytest.fixture
def copy(probe: RunDir, tmp_path: Path) -> RunDir:
    """A run that may be damaged."""
    return RunDir(shutil.copytree(probe.path, tmp_path / "copy"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no config\.json") as caught:
        Predictor.open(RunDir(tmp_path))
    assert "finished run" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["plain", "with a blank"])
def test_an_unfinished_run_says_how_to_go_on(probe: RunDir, tmp_path: Path, name: str) -> None:
    unfinished = RunDir(tmp_path / name)
    unfinished.path.mkdir()
    shutil.copy(probe.recipe, unfinished.recipe)
    with pytest.raises(RunError, match="has not finished") as caught:
        Predictor.open(unfinished)
    assert unfinished.resume_command in str(caught.value.hint)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "nonsense", '{"architecture": "resnet18"}'])
def test_a_damaged_config(copy: RunDir, content: str) -> None:
    (copy.model / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json"):
        Predictor.open(copy)


@pytest.mark.parametrize("missing", ["preprocessing", "label_names"])
def test_a_config_that_lacks_a_part(copy: RunDir, missing: str) -> None:
    path = copy.model / "config.json"
    config = json.loads(path.read_text())
    config.pop(missing, None)
    config["finetune_advisor"].pop(missing, None)
    path.write_text(json.dumps(config))
    with pytest.raises(RunError, match=f"lacks '{missing}'"):
        Predictor.open(copy)


def test_truncated_weights(copy: RunDir) -> None:
    path = copy.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match="cannot be opened"):
        Predictor.open(copy)


def test_evaluate_scores_labeled_images(probe: RunDir, images: Path) -> None:
    scores = evaluate_on(probe, images)
    assert (scores["accuracy"], scores["images"], scores["bad_files"]) == (1, 6, {})
    wrong = images.rename(images.with_name("wrong"))
    (wrong / "ants").rename(wrong / "x")
    (wrong / "bees").rename(wrong / "ants")
    (wrong / "x").rename(wrong / "bees")
    assert evaluate_on(probe, wrong)["accuracy"] == pytest.approx(2 / 6)


def test_evaluate_with_fewer_classes_keeps_their_places(probe: RunDir, images: Path) -> None:
    shutil.rmtree(images / "ants")
    scores = evaluate_on(probe, images)
    assert scores["accuracy"] == 1
    assert scores["classes"] == list(Predictor.open(probe).classes)
    per_class = scores["per_class"]
    assert isinstance(per_class, dict)
    assert {name: values["images"] for name, values in per_class.items()} == {
        "ants": 0,
        "bees": 2,
        "Ünïcode, wasps": 2,
    }


def test_evaluate_takes_what_is_too_little_to_train_on(probe: RunDir, images: Path, tmp_path: Path) -> None:
    (tmp_path / "few" / "test").mkdir(parents=True)
    shutil.copytree(images / "ants", tmp_path / "few" / "test" / "ants")
    (tmp_path / "few" / "test" / "not known, but empty").mkdir()
    assert evaluate_on(probe, tmp_path / "few")["images"] == 2
    (tmp_path / "few" / "test" / "ants" / "0.png").unlink()
    assert evaluate_on(probe, tmp_path / "few" / "test")["images"] == 1


def test_evaluate_needs_an_image(probe: RunDir, tmp_path: Path) -> None:
    (tmp_path / "none" / "ants").mkdir(parents=True)
    with pytest.raises(DataError, match="no images in them"):
        evaluate_on(probe, tmp_path / "none")


def test_evaluate_knows_the_training_images_behind_a_link(probe: RunDir, tmp_path: Path) -> None:
    data = Path(load_recipe(probe.recipe).data.path)
    write_images(data, 8)
    try:
        (tmp_path / "link").symlink_to(data)
        for path in (data, tmp_path / "link"):
            assert evaluate_on(probe, path)["leak"]["identical"] == 24  # type: ignore[index]
    finally:
        shutil.rmtree(data)


def test_evaluate_says_nothing_of_new_images(probe: RunDir, images: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert evaluate_on(probe, images)["leak"] is None
    assert caplog.text == ""


def test_evaluate_uses_the_test_split_alone(probe: RunDir, images: Path, tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    shutil.copytree(images, tmp_path / "split" / "train")
    write_images(tmp_path / "split" / "test", 1, seed=2)
    assert evaluate_on(probe, tmp_path / "split")["images"] == 3


def test_evaluate_leaves_out_and_names_bad_files(probe: RunDir, images: Path) -> None:
    (images / "ants" / "broken.png").write_bytes(b"")
    scores = evaluate_on(probe, images)
    assert scores["images"] == 6
    assert scores["bad_files"] == {"ants/broken.png": "the file is empty"}
    for path in images.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="None of the 7 images can be read"):
        evaluate_on(probe, images)


def test_evaluate_refuses_classes_that_the_model_does_not_know(probe: RunDir, images: Path) -> None:
    (images / "bees").rename(images / "Bees")
    with pytest.raises(DataError, match="classes this model does not know: Bees") as caught:
        evaluate_on(probe, images)
    assert "It knows: " in str(caught.value.hint)
    assert "bees" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["folder.zip", "manifest.csv"])
def test_a_run_on_an_archive_or_a_manifest_is_found_again_and_known_images_are_told(tmp_path: Path, kind: str) -> None:
    images = write_images(tmp_path / "images", 8)
    if kind == "folder.zip":
        data = Path(shutil.make_archive(str(tmp_path / "folder"), "zip", images))
    else:
        data = images / kind
        with data.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", "scene"])
            for number, path in enumerate(sorted(images.rglob("*.png"))):
                table.writerow([path.relative_to(images), path.parent.name, number // 2])
    group = () if kind == "folder.zip" else ("data.group=scene",)
    run = train(load_recipe("linear_probe", [f"data.path={data}", *group, *TINY]), RunDir(tmp_path / "run"))
    assert load_recipe(run.recipe).data.path == str(data)
    assert evaluate_on(run, data)["images"] == 24
    assert evaluate_on(run, data)["leak"]["identical"] == 24  # type: ignore[index]
    assert evaluate_on(run, write_images(tmp_path / "others", 2, seed=1))["leak"] is None


def test_evaluate_names_files_that_a_manifest_has_and_the_disk_has_not(probe: RunDir, images: Path) -> None:
    (images / "labels.csv").write_text("path,label\nants/0.png,ants\nants/lost.png,ants\nbees/0.png,bees\n")
    scores = evaluate_on(probe, images / "labels.csv")
    assert scores["images"] == 2
    assert isinstance(scores["bad_files"], dict) and list(scores["bad_files"]) == ["ants/lost.png"]
