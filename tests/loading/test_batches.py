"""Batches are the same whatever decodes them, and bad files are named whatever process meets them."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from finetune_advisor.errors import DataError
from finetune_advisor.images.decode import Decoded, read_image, read_image_for, to_array
from finetune_advisor.images.sources import open_source
from finetune_advisor.loading import augmented as views
from finetune_advisor.loading.augmented import Augment
from finetune_advisor.loading.batches import Batch, BatchPlan, TrainBatches, eval_batches, normalize
from finetune_advisor.loading.fit import fit_image
from finetune_advisor.processes import default_workers
from finetune_advisor.techniques.preprocessing import Preprocess
from tests.conftest import ImageFolder

P = Preprocess(16, "crop", 0.875, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def brighten(image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    assert size == P.size
    factor = rng.uniform(0.5, 1.5)
    return image.point(lambda value: int(value * factor))


def training(
    root: Path, *, workers: int = 0, start: int = 0, stop: int = 7, augment: Augment | None = brighten, batch: int = 4
) -> TrainBatches:
    samples = open_source(root).samples
    plan = BatchPlan(images=len(samples), batch=batch, seed=5)
    return TrainBatches(samples, plan, P, augment=augment, start=start, stop=stop, workers=workers)


def same(first: Batch, second: Batch) -> bool:
    return (
        (first.step, first.epoch, first.names) == (second.step, second.epoch, second.names)
        and torch.equal(first.inputs, second.inputs)
        and torch.equal(first.labels_B, second.labels_B)
    )


@pytest.fixture
def root(image_folder: ImageFolder) -> Path:
    return image_folder({"ants": 6, "bees": 5})


@pytest.fixture
def paths(root: Path) -> list[Path]:
    return [sample.path for sample in open_source(root).samples]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(root: Path, workers: int) -> None:
    expected = list(training(root))
    found = list(training(root, workers=workers))
    assert len(found) == len(expected) == 7
    assert all(map(same, found, expected))


def test_resuming_in_the_middle_of_an_epoch_changes_nothing(root: Path) -> None:
    resumed = list(training(root, start=4))
    assert len(resumed) == 3
    assert all(map(same, resumed, list(training(root))[4:]))


def test_a_batch_holds_what_it_says(root: Path) -> None:
    listing = open_source(root)
    by_name = {sample.name: sample for sample in listing.samples}
    for batch in training(root, augment=None):
        assert batch.inputs.dtype == torch.uint8
        assert batch.inputs.shape[1:] == (3, 16, 16)
        assert batch.labels_B.tolist() == [by_name[name].label for name in batch.names]
        for x_CHW, name in zip(batch.inputs, batch.names, strict=True):
            assert np.array_equal(x_CHW.numpy(), to_array(fit_image(read_image(by_name[name].path), P)))


def test_an_image_is_augmented_anew_each_epoch(root: Path) -> None:
    once, again = training(root, batch=11, stop=2)
    x_of = dict(zip(once.names, once.inputs, strict=True))
    assert not any(torch.equal(x_of[name], x_CHW) for name, x_CHW in zip(again.names, again.inputs, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_vanished_is_named(root: Path, workers: int) -> None:
    stream = training(root, workers=workers)
    (root / "bees" / "002.png").unlink()
    with pytest.raises(DataError) as caught:
        list(stream)
    assert caught.value.message == "bees/002.png cannot be read any more: the file is gone."
    assert caught.value.hint


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_random_state_is_left_alone(root: Path, workers: int) -> None:
    before = torch.get_rng_state()
    list(training(root, workers=workers, stop=2))
    assert torch.equal(before, torch.get_rng_state())


def die(image: Image.Image, rng: np.random.Generator, size: int) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_worker_that_dies_is_reported(root: Path) -> None:
    with pytest.raises(DataError, match="A process that decodes images died") as caught:
        list(training(root, workers=1, augment=die))
    assert "runtime.workers" in str(caught.value)


@pytest.mark.parametrize("kind", [ZeroDivisionError, RuntimeError])
def test_a_bug_in_an_augmentation_stays_a_bug(root: Path, kind: type[Exception]) -> None:
    def broken(image: Image.Image, rng: np.random.Generator, size: int) -> NoReturn:
        raise kind("mine")

    with pytest.raises(kind, match="mine"):
        list(training(root, workers=1, augment=broken))


INTERRUPTED = """
import sys, time
from finetune_advisor.loading.batches import BatchPlan, TrainBatches
from finetune_advisor.images.sources import open_source
from finetune_advisor.techniques.preprocessing import Preprocess

def slow(image, rng, size):
    time.sleep(0.05)
    return image

p = Preprocess(16, "crop", 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
samples = open_source(sys.argv[1]).samples
plan = BatchPlan(images=len(samples), batch=2, seed=0)
try:
    for batch in TrainBatches(samples, plan, p, augment=slow, start=0, stop=10**6, workers=2):
        print(batch.step, flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def test_ctrl_c_ends_quietly(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "0\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert out.endswith("stopped\n")
    assert err == ""
    assert process.returncode == 0


def test_workers_end_with_the_iterator(root: Path) -> None:
    others = set(multiprocessing.active_children())
    stream = iter(training(root, workers=2, stop=10_000))
    next(stream)
    ours = set(multiprocessing.active_children()) - others
    assert len(ours) == 2
    stream.close()
    assert not any(process.is_alive() for process in ours)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_and_names_bad_images(paths: list[Path], workers: int) -> None:
    paths[1].write_bytes(b"")
    paths[4].unlink()
    found = list(eval_batches(paths, P, batch=4, workers=workers))
    assert [made.index_B.tolist() for made in found] == [[0, 2, 3], [5, 6, 7], [8, 9, 10]]
    assert [made.bad for made in found] == [[(1, "the file is empty")], [(4, "the file is gone")], []]
    for made in found:
        for index, x_CHW in zip(made.index_B, made.x_BCHW, strict=True):
            assert np.array_equal(x_CHW.numpy(), to_array(fit_image(read_image(paths[index]), P)))


def test_a_batch_of_bad_images_is_empty(tmp_path: Path) -> None:
    (made,) = eval_batches([tmp_path / "a.png", tmp_path / "b.png"], P, batch=8, workers=0)
    assert made.x_BCHW.shape == (0, 3, 16, 16)
    assert made.index_B.tolist() == []
    assert [index for index, _ in made.bad] == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_evaluate(workers: int) -> None:
    assert list(eval_batches([], P, batch=8, workers=workers)) == []


def test_evaluation_decodes_each_image_once(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def recording(path: str, sides: Sequence[int], **settings: Any) -> Decoded:
        read.append(path)
        return read_image_for(path, sides, **settings)

    monkeypatch.setattr(views, "read_image_for", recording)
    list(eval_batches(paths, P, batch=4, workers=0))
    assert read == [str(path) for path in paths]


def test_normalize_is_the_usual_formula() -> None:
    x_BCHW = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (P.mean, P.std))
    normal_BCHW = normalize(x_BCHW, P)
    torch.testing.assert_close(normal_BCHW, (x_BCHW / 255 - mean) / std, rtol=1e-5, atol=1e-6)
    assert normal_BCHW.dtype == torch.float32
    assert normal_BCHW.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("cores", "workers"), [(1, 0), (2, 2), (6, 6), (96, 16)])
def test_workers_follow_the_cores_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert default_workers() == workers
