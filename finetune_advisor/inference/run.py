"""A finished run, opened: what it was, how good it is, and what it says of images.

Shapes: N images, B of them together, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.images.color import to_rgb
from finetune_advisor.images.decode import to_array
from finetune_advisor.images.sources.scan import images_below
from finetune_advisor.inference.predictor import BATCH, Predictor, evaluate_on
from finetune_advisor.loading.fit import fit_image
from finetune_advisor.processes import default_workers
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import Record
from finetune_advisor.records.rundir import RunDir

BLOCK = 4096
"""Files that are asked about together: enough that starting the processes that decode them costs nothing."""

ImageLike = str | Path | Image.Image
"""A file, or an image in memory."""


@dataclass(frozen=True)
class Classification:
    """What a model says of one image.

    Attributes:
        path: the file; None for an image in memory.
        label: the most probable class; None where the file cannot be read.
        probability: of that class.
        probabilities: of every class, in the order of `Run.classes`.
        problem: why the file cannot be read, or None.
    """

    path: Path | None
    label: str | None
    probability: float | None
    probabilities: dict[str, float]
    problem: str | None = None

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, the first one first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:count]


@dataclass(frozen=True)
class Run:
    """A finished run, an ensemble or an exported model; its training images are not needed."""

    folder: RunDir
    predictor: Predictor

    @staticmethod
    def open(path: str | Path | RunDir, *, device: str = "auto") -> Run:
        """Open the model in a folder.

        Args:
            path: a run folder, an ensemble, or what `export` wrote.
            device: `auto`, or a torch device.

        Raises:
            RunError: there is no finished run, or its model is damaged.
        """
        folder = path if isinstance(path, RunDir) else RunDir(Path(path))
        return Run(folder, Predictor.open(folder, device=torch_device(device)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the model's outputs."""
        return self.predictor.classes

    @property
    def recipe(self) -> Recipe:
        """What was executed.

        Raises:
            RecipeError: the folder has none, as an exported model.
        """
        return load_recipe(self.folder.recipe)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json.

        Raises:
            RunError: the folder has none, as an exported model.
        """
        return self.folder.load_metrics()

    @property
    def history(self) -> tuple[Record, ...]:
        """What happened, evaluation by evaluation."""
        return self.folder.load_history()

    def predict(
        self, images: ImageLike | Sequence[ImageLike], *, batch: int = BATCH, workers: int | None = None
    ) -> list[Classification]:
        """What the model says of images, in their order.

        Args:
            images: files, folders of images, images in memory (shown as they are), or one of these.
            batch: images that go through the network together.
            workers: processes that decode; None is one for each core, 0 decodes in this one.

        Raises:
            DataError: a folder cannot be read.
        """
        several = [images] if isinstance(images, str | Path | Image.Image) else images
        if all(isinstance(image, Image.Image) for image in several):
            return list(self._seen([image for image in several if isinstance(image, Image.Image)], batch))
        if any(isinstance(image, Image.Image) for image in several):
            raise TypeError("expected files or images in memory, found both")
        paths = [path for image in several if not isinstance(image, Image.Image) for path in _files(Path(image))]
        return list(self.stream(paths, batch=batch, workers=workers))

    def stream(
        self, paths: Iterable[str | Path], *, batch: int = BATCH, workers: int | None = None
    ) -> Iterator[Classification]:
        """The same for files one after the other, in constant memory: there may be any number of them."""
        workers = default_workers() if workers is None else workers
        rest = iter(paths)
        while block := [Path(path) for path in islice(rest, BLOCK)]:
            for answer in self.predictor.predict(block, workers=workers, batch=batch):
                if answer.probabilities_K is None:
                    yield Classification(answer.path, None, None, {}, answer.problem)
                else:
                    yield self._named(answer.path, answer.probabilities_K)

    def evaluate(self, data: str | Path) -> dict[str, object]:
        """Score labeled images; see `evaluate_on`.

        Raises:
            DataError: the data cannot be used, or has a class that the model does not know.
        """
        return evaluate_on(self.folder, data, device=self.predictor.device)

    def _seen(self, images: Sequence[Image.Image], batch: int) -> Iterator[Classification]:
        preprocess = self.predictor.preprocess
        for start in range(0, len(images), batch):
            colors = [to_rgb(image, preprocess.value_range) for image in images[start : start + batch]]
            pixels = [to_array(fit_image(image, preprocess)) for image in colors]
            x_BCHW = torch.from_numpy(np.stack(pixels))
            for probabilities_K in self.predictor.probabilities_of(x_BCHW):
                yield self._named(None, probabilities_K)

    def _named(self, path: Path | None, probabilities_K: npt.NDArray[np.float64]) -> Classification:
        probabilities = dict(zip(self.classes, probabilities_K.tolist(), strict=True))
        best = self.classes[int(probabilities_K.argmax())]
        return Classification(path, best, probabilities[best], probabilities)


def _files(path: Path) -> list[Path]:
    return images_below(path) if path.is_dir() else [path]
