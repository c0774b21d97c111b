"""A trained model applied to images, with the preprocessing it was trained with.

Shapes: N images, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from finetune_advisor.backbones.export import CONFIG_FILE, load_model
from finetune_advisor.errors import DataError, RecipeError, RunError
from finetune_advisor.features.extract import measure
from finetune_advisor.images.sources import Listing, Sample, called_as, open_like
from finetune_advisor.images.sources.listing import ClassFolders, likeness
from finetune_advisor.images.training_images import Recognized, load_training_images, recognize
from finetune_advisor.loading.batches import eval_batches, normalize
from finetune_advisor.metrics import leak_scores, score, softmax
from finetune_advisor.processes import default_workers
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.predictions import save_predictions
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.preprocessing import Preprocess, ValueRange

BATCH = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """The answer for one image: probabilities of the classes (K,), or why the file cannot be read."""

    path: Path
    probabilities_K: npt.NDArray[np.float64] | None
    problem: str | None


@dataclass(frozen=True)
class Predictor:
    """A network, what goes into it and what its outputs mean."""

    net: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    device: str
    config: Mapping[str, Any]
    """What the model's config.json says."""

    @staticmethod
    def open(run: RunDir, *, device: str = "cpu") -> Predictor:
        """The model of a finished run, or of a folder that `export` wrote; the training images are not needed.

        Raises:
            RunError: the run has not finished, holds no model, or a damaged one.
        """
        return Predictor.of_model(model_folder(run), device=device)

    @staticmethod
    def of_model(folder: Path, *, device: str = "cpu") -> Predictor:
        """The model in a folder of `config.json` and `model.safetensors`.

        Raises:
            RunError: it holds no model that this package wrote, or a damaged one.
        """
        net, config = load_model(folder)
        try:
            settings = config["finetune_advisor"]["preprocessing"]
            classes = tuple(config["label_names"])
        except KeyError as missing:
            raise RunError(f"{folder}/{CONFIG_FILE} lacks {missing}: it was not written by a run.") from missing
        # JSON has lists; a model of an older version has no `value_range`.
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return Predictor(net.to(device).eval(), Preprocess(**settings), classes, device, config)

    def predict(self, paths: Sequence[Path], *, workers: int, batch: int = BATCH) -> Iterator[Prediction]:
        """One Prediction per path, in the order of the paths; memory does not grow with their number.

        Args:
            workers: processes that decode; 0 decodes in this one.
            batch: images that go through the network together.
        """
        for index_B, x_BCHW, bad in eval_batches(paths, self.preprocess, batch=batch, workers=workers):
            answers = {place: Prediction(paths[place], None, reason) for place, reason in bad}
            if len(index_B):
                for place, probabilities_K in zip(index_B.tolist(), self.probabilities_of(x_BCHW), strict=True):
                    answers[place] = Prediction(paths[place], probabilities_K, None)
            for place in sorted(answers):
                yield answers[place]

    def probabilities(self, paths: Sequence[Path], *, workers: int) -> npt.NDArray[np.float64]:
        """Probabilities (N, K) of images that are known to be readable.

        Raises:
            RunError: one of them cannot be read any more.
        """
        rows = []
        for prediction in self.predict(paths, workers=workers):
            if prediction.probabilities_K is None:
                raise RunError(f"{prediction.path} cannot be read any more: {prediction.problem}")
            rows.append(prediction.probabilities_K)
        return np.stack(rows)

    def probabilities_of(self, x_BCHW: torch.Tensor) -> npt.NDArray[np.float64]:
        """Probabilities (B, K) of images that are decoded and fitted, uint8 (B, C, H, W)."""
        with torch.inference_mode():
            x = normalize(x_BCHW.to(self.device), self.preprocess)
            return np.asarray(softmax(self.net(x).float().cpu().numpy()), dtype=np.float64)


def evaluate_on(
    run: RunDir,
    data: str | Path,
    *,
    device: str = "cpu",
    batch: int = BATCH,
    answers: Path | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    class_folders: ClassFolders | None = None,
) -> dict[str, object]:
    """Score a finished run on labeled images: the block of `metrics.json` for one split.

    Where the data has a test split only that is used, else all images; a single class or image will do. Unreadable
    files are left out and named under `bad_files`. The interval is over groups: copies, near-duplicates, and what
    shares a value in a column `group`. Images that trained or chose the model are recognized by content, whatever they
    are called; `leak` says how many there are and what the accuracy is without them, None is none, and `not_checked` in
    it says why nobody looked.

    Args:
        device: torch device.
        batch: images that go through the network together.
        path_column, label_column: columns of a table; None takes those of the run's recipe where the table has them, or
            the usual names.
        class_folders: which level of folders are the classes; None takes that of the run's recipe.
        answers: file for the answer to each image, as `predictions.csv` of a run; None writes none.

    Raises:
        DataError: the data cannot be used, or has a class that the model does not know.
        StorageError: `answers` cannot be written.
        RunError: the run has not finished or holds no model.
    """
    predictor = Predictor.open(run, device=device)
    listing = _listed(
        run,
        data,
        predictor.classes,
        path_column=path_column,
        label_column=label_column,
        class_folders=class_folders,
    )
    samples = _to_score(listing, predictor.classes)
    given = list(predictor.predict([s.path for s in samples], workers=default_workers(), batch=batch))
    read = [(s, a.probabilities_K) for s, a in zip(samples, given, strict=True) if a.probabilities_K is not None]
    if not read:
        raise DataError(f"None of the {len(samples)} images can be read.")
    group_N, found = _seen_before(run, [sample for sample, _ in read], predictor.preprocess.value_range)
    labels_N = np.array([predictor.classes.index(listing.classes[sample.label]) for sample, _ in read])
    probabilities_NK = np.stack([probabilities_K for _, probabilities_K in read])
    if answers is not None:
        save_predictions(answers, predictor.classes, [s.name for s, _ in read], labels_N, probabilities_NK)
    scores = score(probabilities_NK, labels_N, predictor.classes, group_N=group_N)
    leak = _leak(run, found, probabilities_NK.argmax(axis=1) == labels_N, [sample for sample, _ in read])
    bad = {s.name: a.problem for s, a in zip(samples, given, strict=True) if a.problem is not None}
    return {**scores, "leak": leak, "classes": list(predictor.classes), "bad_files": bad}


def _seen_before(
    run: RunDir, samples: Sequence[Sample], value_range: ValueRange | None
) -> tuple[npt.NDArray[np.intp], Recognized | DataError]:
    """The group of each image (N,), and which of them trained the model, or why that cannot be told."""
    seen = measure(
        [sample.path for sample in samples],
        (),
        device="cpu",
        workers=default_workers(),
        value_range=value_range,  # the training images' thumbnails were made on this scale
        together=False,
    )
    # A file that the network saw can be read here too, unless it is changed meanwhile.
    digests = [str(seen.digests[place]) for place in seen.readable]
    if len(digests) < len(samples):
        gone = samples[min(set(range(len(samples))) - set(seen.readable))]
        raise DataError(f"{gone.path} cannot be read any more.", "Leave the images alone while they are scored.")
    groups = [sample.group for sample in samples]
    try:
        found = recognize(load_training_images(run.training_images), digests, seen.looks, groups=groups)
    except DataError as problem:
        log.info("training images are not recognized: %s", problem.message)
        return recognize(None, digests, seen.looks, groups=groups).group_N, problem
    return found.group_N, found


def model_folder(run: RunDir) -> Path:
    """Where the model of a finished run is; a folder that `export` wrote is a model itself.

    Raises:
        RunError: there is no such folder, or the run in it has not finished.
    """
    if not run.model.is_dir() and (run.path / CONFIG_FILE).is_file():
        return run.path
    _require_model(run)
    return run.model


def _require_model(run: RunDir) -> None:
    """A run that has begun is told from a folder that is no run, and from one that is not there."""
    run.require_folder()
    if run.plan.is_file() and not run.finished:
        raise RunError(f"The ensemble in {run.path} has not finished.", "The command that began it goes on with it.")
    if run.recipe.is_file() and not run.finished and not (run.model / CONFIG_FILE).is_file():
        raise RunError(f"The run in {run.path} has not finished.", f"Go on with it: {run.resume_command}")


def _listed(
    run: RunDir,
    data: str | Path,
    known: Sequence[str],
    *,
    path_column: str | None,
    label_column: str | None,
    class_folders: ClassFolders | None,
) -> Listing:
    """The images, read as the run's recipe reads its own; nothing is asked of a folder without a recipe."""
    try:
        section = load_recipe(run.recipe).data if run.recipe.is_file() else None
    except RecipeError as problem:
        log.info("read by the usual rules, the run's recipe cannot be used: %s", problem.message)
        section = None
    listing = open_like(data, section, path_column=path_column, label_column=label_column, class_folders=class_folders)
    return called_as(listing, known) if section is not None and section.merge_classes else listing


def _to_score(listing: Listing, known: Sequence[str]) -> tuple[Sample, ...]:
    """The images to score: those of the test split where there is one."""
    samples = listing.part("test") or listing.samples
    if not samples:
        raise DataError(f"{listing.source} holds class folders but no images in them.", "Expected at least one image.")
    unknown = [listing.classes[label] for label in sorted({sample.label for sample in samples})]
    unknown = [name for name in unknown if name not in known]
    if unknown:
        near = {likeness(name): name for name in known}
        same = [f"{name!r} may be {near[likeness(name)]!r}." for name in unknown if likeness(name) in near]
        raise DataError(
            f"{listing.source} has classes this model does not know: {', '.join(unknown)}.",
            " ".join([f"It knows: {', '.join(known)}.", *same]),
        )
    return samples


def _leak(
    run: RunDir, found: Recognized | DataError, hit_N: npt.NDArray[np.bool_], samples: Sequence[Sample]
) -> dict[str, object] | None:
    """What is left of the accuracy without images that trained or chose the model, or why nobody looked for them."""
    if isinstance(found, DataError):
        return {"not_checked": f"{run.path} keeps no usable {run.training_images.name}"}
    names = [sample.name for sample in samples]
    known = {names[place] for place in found.known}
    leak = leak_scores(hit_N, names, known, groups=found.groups, group_N=found.group_N)
    if leak is None:
        return None
    return {
        **leak,
        "identical": len(found.identical),
        "training_paths": [found.known[place] for place in sorted(found.known)],
    }
