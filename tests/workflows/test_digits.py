"""The digits that ship with this package are the ones of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.workflows.demo import SIDE, write_digits


def test_the_digits_are_those_of_scikit_learn_every_fifth_of_each_for_the_test(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    assert write_digits(tmp_path) == len(digits.target) == 1797
    counts = np.bincount(digits.target)
    for digit, count in enumerate(counts.tolist()):
        train, test = (sorted((tmp_path / split / str(digit)).iterdir()) for split in ("train", "test"))
        assert (len(train) + len(test), len(test)) == (count, count // 5)
    first = np.round(digits.images[digits.target == 3][0] * 255 / 16).astype(np.uint8)
    wanted = Image.fromarray(first).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    with Image.open(tmp_path / "train" / "3" / "001.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(wanted))
