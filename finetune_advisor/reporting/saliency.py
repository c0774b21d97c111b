"""Where in an image a network looks: the gradient of its answer, averaged over a little noise.

Sources: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2014; Smilkov et al., "SmoothGrad",
2017. It works for every network; it shows which pixels the answer hangs on, not why.

Shapes: B images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    import torch

    from finetune_advisor.inference.predictor import Predictor

DRAWS = 4
"""Noisy copies of an image whose gradients are averaged."""

NOISE = 0.15
"""Standard deviation of that noise, over that of the image."""

USUAL = 0.5
"""Share of the pixels that stay without a veil: they matter least."""

COLOR = (255, 122, 20)
STRONGEST = 0.75
"""Opacity of the overlay where the answer hangs most."""


def overlays(predictor: Predictor, paths: Mapping[str, Path]) -> dict[str, tuple[Image.Image, Image.Image]]:
    """By name: the image as the network sees it, and the same with what the answer hangs on in orange.

    Images that cannot be read any more are left out.
    """
    from finetune_advisor.loading.batches import eval_batches

    names, found = list(paths), {}
    for index_B, x_BCHW, _ in eval_batches(list(paths.values()), predictor.preprocess, batch=8, workers=0):
        if len(index_B):
            maps_BHW = saliency(predictor, x_BCHW)
            for place, pixels_CHW, map_HW in zip(index_B.tolist(), x_BCHW, maps_BHW, strict=True):
                image = Image.fromarray(pixels_CHW.permute(1, 2, 0).numpy().astype(np.uint8))
                found[names[place]] = image, overlay(image, map_HW)
    return found


def saliency(predictor: Predictor, x_BCHW: torch.Tensor) -> npt.NDArray[np.float32]:
    """For each pixel how much the network's own answer changes with it, 0 to 1: (B, H, W)."""
    import torch

    from finetune_advisor.loading.batches import normalize

    generator = torch.Generator().manual_seed(0)
    inputs = normalize(x_BCHW.to(predictor.device), predictor.preprocess)
    spread = inputs.flatten(1).std(dim=1).view(-1, 1, 1, 1)
    total_BHW = torch.zeros(inputs.shape[0], *inputs.shape[2:])
    for _ in range(DRAWS):
        noise = torch.randn(inputs.shape, generator=generator).to(inputs.device)
        noisy = (inputs + NOISE * spread * noise).detach().requires_grad_(True)
        best_B = predictor.net(noisy).max(dim=1).values
        (gradient_BCHW,) = torch.autograd.grad(best_B.sum(), noisy)
        total_BHW += gradient_BCHW.abs().amax(dim=1).cpu()
    largest_B = total_BHW.flatten(1).quantile(0.99, dim=1).clamp(min=1e-12)
    return np.asarray((total_BHW / largest_B.view(-1, 1, 1)).clamp(max=1).numpy())


def overlay(image: Image.Image, map_HW: npt.NDArray[np.float32]) -> Image.Image:
    """The image, gray, under an orange veil where the map is high; smoothed, because single pixels say little."""
    width = max(image.size)
    soft = Image.fromarray((255 * map_HW).astype(np.uint8)).filter(ImageFilter.GaussianBlur(width / 28))
    values = np.asarray(soft, dtype=np.float32)
    floor = float(np.quantile(values, USUAL))
    share = np.clip((values - floor) / max(float(values.max()) - floor, 1.0), 0, 1)
    veil = Image.fromarray((255 * STRONGEST * share).astype(np.uint8))
    return Image.composite(Image.new("RGB", image.size, COLOR), image.convert("L").convert("RGB"), veil)
