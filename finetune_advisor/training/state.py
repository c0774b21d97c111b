"""Everything that changes while a network trains: checkpoints, what a resumed run must share, and recovery.

A checkpoint is one safetensors file: the tensors of network and optimizer, and in its header, as JSON, the counters.
One file can be replaced atomically, and nothing in it is executed when it is read.

Shapes: N images.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from finetune_advisor import processes
from finetune_advisor.errors import RecipeError, RunError
from finetune_advisor.recipes.dump import diff_recipes
from finetune_advisor.recipes.formats import without_removed_keys
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.yaml import Place, plain, tree_of
from finetune_advisor.records.environment import installed_version
from finetune_advisor.storage.files import atomic_write
from finetune_advisor.techniques.schedule import ScheduleState
from finetune_advisor.text import counted, listed
from finetune_advisor.training.averaging import Average, moving_tensors
from finetune_advisor.training.prepare import Prepared
from finetune_advisor.training.watch import Spent

log = logging.getLogger(__name__)

FREE = frozenset(
    {
        "data.path",
        "backbone.weights",
        "runtime.workers",
        "runtime.retries",
        "runtime.compile",
        "runtime.tracker",
        "optimizer.micro_batch",
    }
)
"""Keys that may change while a run is interrupted: where things are (their content is compared), speed and memory."""


@dataclass(frozen=True)
class Identity:
    """The recipe, and what it was executed on."""

    recipe: Recipe
    weights: str
    """Digest of the backbone's weights."""
    classes: tuple[str, ...]
    images: Mapping[str, bytes]
    """Eight bytes for each image, by its name, that change with its content, its split and its label."""

    @classmethod
    def of(cls, prepared: Prepared) -> Identity:
        """That of a run that is about to begin or to go on."""
        data = prepared.data
        images = {
            sample.name: hashlib.blake2b(f"{sample.split} {sample.label} {digest}".encode(), digest_size=8).digest()
            for sample, digest in zip(data.listing.samples, data.digests, strict=True)
        }
        return cls(prepared.recipe, prepared.backbone.weights.digest, data.classes, images)

    def as_json(self) -> dict[str, Any]:
        """All but the images."""
        return {"recipe": self.recipe.model_dump(mode="json"), "weights": self.weights, "classes": list(self.classes)}

    def images_tensor(self) -> Tensor:
        """The images (N, 8), uint8."""
        joined = np.frombuffer(b"".join(self.images.values()), np.uint8)
        return torch.from_numpy(joined.reshape(-1, 8).copy())

    def require_same(self, saved: Mapping[str, Any], images_N8: Tensor, path: Path) -> None:
        """Check that a checkpoint was written by a run of the same identity.

        Raises:
            RunError: says what changed since.
        """
        changes = list(self._changes(saved, images_N8))
        if changes:
            raise RunError(
                f"{path} is of another run than recipe and images describe now: {'; '.join(changes)}.",
                "Start a new run instead of --resume, or put recipe.yaml and the images back as they were.",
            )

    def _changes(self, saved: Mapping[str, Any], images_N8: Tensor) -> Iterator[str]:
        yield from self._recipe_changes(saved["recipe"])
        if saved["weights"] != self.weights:
            yield "the backbone's weights differ"
        if saved["classes"] != list(self.classes):
            yield f"the classes were {', '.join(saved['classes'])} and are {', '.join(self.classes)}"
        elif len(images_N8) != len(self.images):
            yield f"there were {counted(len(images_N8), 'image')} and are {len(self.images)}"
        else:
            differs_N = (images_N8 != self.images_tensor()).any(dim=1)
            names = [name for name, differs in zip(self.images, differs_N.tolist(), strict=True) if differs]
            if names:
                yield f"{counted(len(names), 'image')} changed: {listed(names)}"

    def _recipe_changes(self, saved: Mapping[str, Any]) -> Iterator[str]:
        try:
            known, _ = without_removed_keys(tree_of(saved, Place("checkpoint")))
            before = Recipe.model_validate_json(json.dumps(plain(known)))
        except RecipeError as problem:
            yield f"its recipe is of another version ({', '.join(each.key for each in problem.problems)})"
            return
        except ValidationError as problem:
            keys = sorted({".".join(map(str, error["loc"])) for error in problem.errors()})
            yield f"its recipe is of another version ({', '.join(keys)})"
            return
        for key, old, new in diff_recipes(before, self.recipe):
            if key not in FREE:
                yield f"{key} was {old} and is {new}"


CHECKPOINT_FORMAT = 6

_NET, _AVERAGE, _OPTIMIZER, _STATE, _IMAGES = "net.", "average.", "optimizer.", "state", "images"


@dataclass
class Tally:
    """Sums over the training images since the last evaluation."""

    images: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    """Not whole where images are mixed: one may be recognized in part."""
    last_loss: float | None = None
    """Of the last batch."""
    jumps: int = 0
    jump_square_sum: float = 0.0
    """Squares of what the loss changed by from one batch to the next, and how many they are."""
    update_ratio: dict[str, float] = field(default_factory=dict)
    """Norm of a step over that of the weights, by group, in the middle of the epoch."""

    def add(self, images: int, loss_sum: float, correct: float) -> None:
        """Count some images: the sum of their losses, and how many are recognized."""
        self.images += images
        self.loss_sum += loss_sum
        self.correct += correct
        loss = loss_sum / images
        if self.last_loss is not None:
            self.jumps += 1
            self.jump_square_sum += (loss - self.last_loss) ** 2
        self.last_loss = loss

    @property
    def loss(self) -> float:
        return self.loss_sum / self.images

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    @property
    def noise(self) -> float | None:
        """Standard deviation of a batch's loss around its trend; None for a single batch.

        Source: von Neumann, "Distribution of the ratio of the mean square successive difference to the variance", 1941.
        """
        return math.sqrt(self.jump_square_sum / (2 * self.jumps)) if self.jumps else None


@dataclass
class TrainState:
    """A network in training. `step` steps are done; all randomness of step n follows from (seed, n)."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    schedule: ScheduleState = field(default_factory=ScheduleState)
    average: Average = field(default_factory=Average)
    """What is judged and kept in place of the network, once there is one."""
    best: tuple[float, float] | None = None
    """Rank of the best evaluation so far: its metric and its negative loss, larger is better."""
    best_step: int = 0
    stale_evaluations: int = 0
    """Evaluations without a better metric."""
    rate_factor: float = 1.0
    """What is left of every rate after the times that training went back."""
    retries: int = 0
    """How often it went back."""
    micro_batch: int | None = None
    """Images that go through the network together since memory ran out; None as long as it did not."""
    events: list[str] = field(default_factory=list)
    """What went wrong since the last evaluation, and what was done about it."""
    tally: Tally = field(default_factory=Tally)
    spent: Spent = field(default_factory=Spent)
    """Seconds up to the moment of saving, over all parts of the run."""

    @property
    def moving(self) -> dict[str, Tensor]:
        """The tensors that training moves and that an average is of."""
        return moving_tensors(self.net, self.optimizer)

    def save(self, path: Path, *, identity: Identity) -> None:
        """Write a checkpoint, atomically.

        Args:
            path: the file to replace.
            identity: what a resume must share with this run.

        Raises:
            StorageError: the disk refuses; the previous checkpoint is intact.
        """
        tensors = {_NET + name: _plain(value) for name, value in self.net.state_dict().items()}
        tensors[_IMAGES] = identity.images_tensor()
        tensors |= {_AVERAGE + name: _plain(value) for name, value in self.average.tensors.items()}
        numbers: dict[str, int | float] = {}
        for index, values in self.optimizer.state_dict()["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{_OPTIMIZER}{index}.{key}"] = _plain(value)
                elif value is not None:
                    numbers[f"{index}.{key}"] = value
        counters = {
            "format": CHECKPOINT_FORMAT,
            "version": installed_version(),
            "identity": identity.as_json(),
            "step": self.step,
            "optimizer": numbers,
            "schedule": asdict(self.schedule),
            "averaged": self.average.count,
            "best": self.best,
            "best_step": self.best_step,
            "stale_evaluations": self.stale_evaluations,
            "rate_factor": self.rate_factor,
            "retries": self.retries,
            "micro_batch": self.micro_batch,
            "events": self.events,
            "tally": asdict(self.tally),
            "spent": asdict(self.spent),
        }
        atomic_write(path, save(tensors, metadata={_STATE: json.dumps(counters)}))

    def load(self, path: Path, *, identity: Identity) -> None:
        """Go back to a checkpoint of the same run, the one that the main process finds.

        Raises:
            RunError: the file is missing, damaged, of another version, or belongs to another recipe or data set.
        """
        found = processes.from_main(_read(path) if processes.is_main() else None)
        assert found is not None, "the main process has read it"
        tensors, counters = found
        if counters["format"] != CHECKPOINT_FORMAT:
            raise RunError(
                f"{path} was written by version {counters.get('version', 'unknown')} in checkpoint format "
                f"{counters['format']}; this is version {installed_version()}, which reads format {CHECKPOINT_FORMAT}.",
                "Resume with the version that wrote it, or start a new run.",
            )
        identity.require_same(counters["identity"], tensors[_IMAGES], path)
        self._load_tensors(path, tensors, counters["optimizer"])
        self.step = counters["step"]
        self.schedule = ScheduleState(**counters["schedule"])
        self.average.restore(counters["averaged"], _named(tensors, _AVERAGE), self.moving)
        self.best = tuple(counters["best"]) if counters["best"] else None
        self.best_step = counters["best_step"]
        self.stale_evaluations = counters["stale_evaluations"]
        self.rate_factor = counters["rate_factor"]
        self.retries = counters["retries"]
        self.micro_batch = counters["micro_batch"]
        self.events = counters["events"]
        self.tally = Tally(**counters["tally"])
        self.spent = Spent(**counters["spent"])

    def _load_tensors(self, path: Path, tensors: dict[str, Tensor], numbers: dict[str, int | float]) -> None:
        moments: dict[int, dict[str, Tensor | int | float]] = {}
        for name, value in [*_named(tensors, _OPTIMIZER).items(), *numbers.items()]:
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        try:
            self.net.load_state_dict(_named(tensors, _NET))
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
            _lay_out_as_weights(self.optimizer)
        except (RuntimeError, ValueError) as problem:
            raise RunError(f"{path} does not fit this network: {problem}") from problem


def load_weights(net: nn.Module, path: Path) -> None:
    """Take only the network's weights from a checkpoint: their average where there is one.

    Raises:
        RunError: the file is missing or damaged, or does not fit.
    """
    tensors, _ = _read(path)
    try:
        net.load_state_dict(_named(tensors, _NET) | _named(tensors, _AVERAGE))
    except RuntimeError as problem:
        raise RunError(f"{path} does not fit this network: {problem}") from problem


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous()


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Steps that a GPU takes as one program want moments in the order of their weights, which files do not keep."""
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise RunError(f"There is no checkpoint at {path}.", "Start the run again without --resume.")
    try:
        with safe_open(path, framework="pt") as stream:
            counters: dict[str, Any] = json.loads(stream.metadata()[_STATE])
            return {name: stream.get_tensor(name) for name in stream.keys()}, counters  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as problem:
        raise RunError(f"{path} is damaged: {problem}") from problem


T = TypeVar("T")

_ON_CPU = ("can't allocate memory", "not enough memory", "DefaultCPUAllocator")
"""What torch says in a RuntimeError when memory for a tensor is refused."""


def within_memory(state: TrainState, largest: int, attempt: Callable[[int], T]) -> T:
    """What `attempt` returns, given how many images may go through the network together.

    When memory runs out that number is halved, for the rest of the run, and the same is tried again.

    Args:
        largest: images together as long as memory never ran out.
        attempt: leaves nothing behind but gradients when it fails.

    Raises:
        RunError: memory does not even suffice for one image.
    """
    while True:
        size = min(state.micro_batch or largest, largest)
        try:
            return attempt(size)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # Here the error and its traceback are gone, which would keep what lies in memory.
        _take_smaller(state, size, reason)


def go_back(state: TrainState, restore: Callable[[], None], problem: RunError, *, retries: int) -> None:
    """Restore the last good checkpoint, to go on with half the rate.

    Args:
        restore: loads the checkpoint into `state`.
        problem: what the last attempt ended with.
        retries: how often this may be done in a run.

    Raises:
        RunError: the problem, when there is no attempt left.
    """
    if state.retries >= retries:
        if retries:
            problem.message += f" It went back {state.retries} times before (`runtime.retries`)."
        raise problem
    factor, done = state.rate_factor / 2, state.retries + 1
    micro_batch, before = state.micro_batch, state.step
    state.optimizer.zero_grad(set_to_none=True)
    restore()
    state.rate_factor, state.retries, state.micro_batch = factor, done, micro_batch
    told = f"{problem.message} Went back from step {before} to step {state.step}, with {factor:g} of the rate."
    log.warning(told)
    state.events.append(told)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in _ON_CPU)


def _take_smaller(state: TrainState, size: int, reason: str) -> None:
    if size == 1:
        raise RunError(
            f"Memory does not suffice for a single image: {reason}.",
            "Lower preprocessing.size, choose a smaller backbone or fewer trained stages, or more memory. "
            "The last checkpoint is intact.",
        )
    state.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    state.micro_batch = max(1, size // 2)
    told = (
        f"Memory ran out at step {state.step + 1}: from now on at most {state.micro_batch} images go through the "
        f"network together instead of {size}; a step stays the same. ({reason})"
    )
    log.warning(told)
    state.events.append(told)
