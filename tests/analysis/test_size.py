"""How much data there is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from finetune_advisor.analysis.size import size_of


def test_even_classes_count_as_many_as_there_are() -> None:
    size = size_of(np.repeat([0, 1, 2, 3], 25), 4)
    assert size.effective_classes == pytest.approx(4)
    assert size.per_effective_class == pytest.approx(size.per_class) == pytest.approx(25)
    assert size.smallest_class == 25


def test_effective_classes_are_the_perplexity_of_the_labels() -> None:
    counts = [635, 77, 68, 56, 38, 21]
    size = size_of(np.repeat(range(6), counts), 6)
    assert size.effective_classes == pytest.approx(np.exp(entropy(counts)))
    assert size.per_class == pytest.approx(sum(counts) / 6)
    assert size.smallest_class == 21
