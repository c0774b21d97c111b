"""One small folder with everything in it that an analysis has to notice, measured once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.records.profile import Profile

COUNTS = {"train/ants": 9, "train/bees": 6, "test/ants": 3, "test/bees": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise, split; a copy across splits, one across classes, a bad file, and one that is no image."""
    root = tmp_path_factory.mktemp("analysis") / "insects"
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            color = (200, 90, 40) if "ants" in name else (60, 120, 180)
            pixels = rng.normal(color, 25.0, (40, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    shutil.copy(root / "train/ants/0.png", root / "test/ants/copy.png")
    shutil.copy(root / "train/ants/1.png", root / "train/bees/copy.png")
    (root / "train/bees/bad.png").write_text("no pixels here")
    (root / "train/bees/notes.txt").write_text("no image at all")
    return root


@pytest.fixture(scope="module")
def profile(folder: Path, private_cache: Path) -> Profile:
    """The analysis of `folder` with the ruler."""
    return analyze(folder, seed=1)
