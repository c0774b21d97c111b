"""Small networks trained in memory by the package's own loop and techniques, for `seed_tables.py`.

Shapes: N images, B of them together, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import io
import tarfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from finetune_advisor.backbones.stages import classifier_parameters
from finetune_advisor.loading.batches import Batch
from finetune_advisor.loading.order import BatchPlan
from finetune_advisor.techniques.initialization import He
from finetune_advisor.techniques.loss import CrossEntropy
from finetune_advisor.techniques.optimizer import Sgd
from finetune_advisor.techniques.regularization import Regularization
from finetune_advisor.techniques.schedule import Cosine
from finetune_advisor.training.loop import Evaluation, Method, NotFinite, fit
from finetune_advisor.training.param_groups import Regularizer
from finetune_advisor.training.state import TrainState


@dataclass(frozen=True)
class Images:
    """Images in memory, zero-centered by the mean of the training images and divided by their deviation."""

    x_NCHW: Tensor
    labels_N: Tensor

    def some(self, index_N: Any) -> Images:
        return Images(self.x_NCHW[index_N], self.labels_N[index_N])

    def to(self, device: str) -> Images:
        return Images(self.x_NCHW.to(device), self.labels_N.to(device))

    def __len__(self) -> int:
        return len(self.labels_N)


def images_of(archive: Path, mode: str, kept: Path) -> dict[str, Images]:
    """`train` and `test` of an archive NAME/split/class/image, decoded once into the folder `kept`.

    Args:
        archive: NAME.tar.gz.
        mode: of Pillow: RGB, or L for gray images of one channel.
        kept: where the pixels are kept for the next time.
    """
    file = kept / f"{archive.name.partition('.')[0]}-{mode}.npz"
    if not file.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        np.savez(file, allow_pickle=False, **_decoded(archive, mode))
    with np.load(file) as arrays:
        pixels = {split: arrays[f"{split}_pixels"] for split in ("train", "test")}
        labels = {split: torch.from_numpy(arrays[f"{split}_labels"]) for split in ("train", "test")}
    mean, std = (pixels["train"].mean((0, 1, 2)) / 255, pixels["train"].std((0, 1, 2)) / 255)
    return {
        split: Images(torch.from_numpy((x / 255 - mean) / std).float().permute(0, 3, 1, 2).contiguous(), labels[split])
        for split, x in pixels.items()
    }


def _decoded(archive: Path, mode: str) -> dict[str, np.ndarray]:
    found: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            stream = tar.extractfile(member)
            if stream is not None and len(parts) == 4:
                pixels = np.asarray(Image.open(io.BytesIO(stream.read())).convert(mode))
                found[parts[1]].append((parts[2], pixels.reshape(*pixels.shape[:2], -1)))
    classes = sorted({name for name, _ in found["train"]})
    arrays = {}
    for split, rows in found.items():
        arrays[f"{split}_pixels"] = np.stack([pixels for _, pixels in rows])
        arrays[f"{split}_labels"] = np.array([classes.index(name) for name, _ in rows])
    return arrays


class Mlp(nn.Module):
    """Fully connected layers with ReLU; dropout of the inputs at the first rate, of hidden units at the second."""

    default_cfg: ClassVar = {"classifier": "fc"}

    def __init__(self, inputs: int, hidden: Sequence[int], classes: int, dropout: tuple[float, float]) -> None:
        super().__init__()
        layers, before = OrderedDict[str, nn.Module](drop=nn.Dropout(dropout[0])), inputs
        for number, units in enumerate(hidden):
            layers[f"fc{number}"] = nn.Linear(before, units)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"drop{number}"] = nn.Dropout(dropout[1])
            before = units
        self.body = nn.Sequential(layers)
        self.fc = nn.Linear(before, classes)
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                He().fill(module.weight, module.bias, generator)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.fc(self.body(x_BCHW.flatten(1)))
        return logits_BK


@dataclass(frozen=True)
class Course:
    """How a network is trained; the same for every row of a table."""

    lr: float
    epochs: int
    batch: int
    seed: int
    device: str
    clip: float | None = None


def train(
    net: nn.Module, data: Images, watched: Images, course: Course, regularization: Sequence[Regularization] = ()
) -> list[dict[str, float]]:
    """Train by SGD with momentum 0.9 and a cosine schedule; the losses, and the error of `watched`, of each epoch.

    A loss that is no number ends the training, and the list.
    """
    net.to(course.device)
    plan = BatchPlan(len(data), course.batch, course.seed)
    method = Method(
        loss=CrossEntropy(),
        schedule=Cosine(),
        averaging=None,
        regularizer=Regularizer(tuple(regularization)),
        clip=course.clip,
        class_weight_K=None,
        seed=course.seed,
        steps=course.epochs * plan.steps_per_epoch,
        steps_per_epoch=plan.steps_per_epoch,
        micro_batch=course.batch + 1,
        precision=torch.float32,
        device=torch.device(course.device),
        mixing=None,
        asynchronous=course.device != "cpu",
    )

    def batches() -> Any:
        for step in range(method.steps):
            index_B = torch.tensor(plan.indices(step)).to(data.labels_N.device, non_blocking=True)
            names = ("",) * len(index_B)
            yield Batch(step, plan.epoch(step), data.x_NCHW[index_B], data.labels_N[index_B], names, plan.size(step))

    def judged() -> Evaluation:
        error, loss = score(net, watched, course.device)
        return Evaluation(1 - error, 1 - error, loss)

    state = TrainState(net, Sgd(lr=course.lr, momentum=0.9).build(_groups(net, course.lr)))
    epochs = []
    try:
        for record in fit(
            state,
            batches(),
            method,
            forward=net,
            set_mode=lambda: _training(net),
            evaluate=judged,
            on_step=lambda _: None,
        ):
            assert record.train_loss is not None and record.val_accuracy is not None
            epochs.append({"train_loss": record.train_loss, "error": 1 - record.val_accuracy})
    except NotFinite as problem:
        print(problem.message)
    return epochs


def _training(net: nn.Module) -> None:
    net.train()


def _groups(net: nn.Module, lr: float) -> list[dict[str, Any]]:
    """Matrices and filters decay, all else does not; the classifier is told from what lies below it."""
    new = classifier_parameters(net)
    groups = []
    for head in (True, False):
        for decays in (True, False):
            named = [(n, p) for n, p in net.named_parameters() if (n in new) == head and (p.ndim > 1) == decays]
            names, parameters = [name for name, _ in named], [parameter for _, parameter in named]
            shared = {"lr": lr, "peak_lr": lr, "decays": decays, "new": head, "name": f"{head} {decays}"}
            groups.append({"params": parameters, "names": names, **shared})
    return [group for group in groups if group["params"]]


@torch.no_grad()
def score(net: nn.Module, data: Images, device: str, batch: int = 500) -> tuple[float, float]:
    """Error and mean loss on images, in evaluation mode."""
    net.eval().to(device)
    wrong, loss = 0, 0.0
    for start in range(0, len(data), batch):
        x_BCHW, labels_B = (
            data.x_NCHW[start : start + batch].to(device),
            data.labels_N[start : start + batch].to(device),
        )
        logits_BK = net(x_BCHW)
        wrong += int((logits_BK.argmax(dim=1) != labels_B).sum())
        loss += float(functional.cross_entropy(logits_BK, labels_B, reduction="sum"))
    return wrong / len(data), loss / len(data)
