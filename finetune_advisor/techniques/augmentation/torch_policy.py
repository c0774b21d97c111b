"""Policies of torchvision, which draw from torch's global dice, under the dice of one image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image


def apply_policy(
    policy: Callable[[Image.Image], Image.Image], image: Image.Image, rng: np.random.Generator
) -> Image.Image:
    """The image after a policy of torchvision; torch's own random state is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        return policy(image)
