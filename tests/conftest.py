"""Fixtures that every test may use: folders of generated images, a private cache, optional real data."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent

for size in ("COLUMNS", "LINES"):  # a terminal that is not there, to which every Console made later would keep
    os.environ.pop(size, None)


class ImageFolder(Protocol):
    """Makes a folder of class folders and returns it; see the fixture `image_folder`."""

    def __call__(
        self,
        counts: Mapping[str, int],
        *,
        size: tuple[int, int] = (40, 32),
        suffix: str = ".png",
        name: str = "images",
        seed: int = 0,
    ) -> Path: ...


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed travels to another process as UTF-8, which names of files that are no text do not fit in."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep every test, and every process it starts, out of the user's own cache."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield cache


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and on a busy machine lose much to them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets beside a checkout, optional test data; skips where there is none."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"optional test data: there is no {folder}")
    return folder


@pytest.fixture
def image_folder(tmp_path: Path) -> ImageFolder:
    """A factory: `image_folder({"ants": 3, "bees": 4})` makes class folders, `{"train/ants": 3, ...}` splits.

    Images are noise of `size` (width, height) around a color that belongs to the class, so that they
    differ from each other and a net can learn them. The same arguments give the same pixels. Tests that need
    several folders tell them apart by `name`.
    """

    def make(
        counts: Mapping[str, int],
        *,
        size: tuple[int, int] = (40, 32),
        suffix: str = ".png",
        name: str = "images",
        seed: int = 0,
    ) -> Path:
        root = tmp_path / name
        colors = _class_colors(counts)
        rng = np.random.default_rng(seed)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True)
            for number in range(count):
                noise_HWC = rng.normal(colors[Path(folder).name], 25.0, (size[1], size[0], 3))
                image = Image.fromarray(noise_HWC.clip(0, 255).astype(np.uint8))
                image.save(root / folder / f"{number:03d}{suffix}")
        return root

    return make


def _class_colors(folders: Mapping[str, int]) -> dict[str, tuple[float, float, float]]:
    """One color a class, the same whatever its split, spread so that neighbors differ."""
    names = sorted({Path(folder).name for folder in folders})
    rng = np.random.default_rng(len(names))
    return {name: tuple(rng.uniform(50, 205, 3).tolist()) for name in names}
