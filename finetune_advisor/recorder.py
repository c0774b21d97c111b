"""Writes down what a frozen network sees, by the fastest way the machine offers.

On a CPU the network runs as an inference graph where that pays; else, and on other devices, as it is.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.inference_graph import InferenceGraph, do_without, open_graph_if_worth
from finetune_advisor.backbones.onnx_program import NoGraph
from finetune_advisor.backbones.trunk import FrozenTrunk, reference_norms
from finetune_advisor.data.batches import normalize
from finetune_advisor.data.sending import sent_to
from finetune_advisor.errors import BackboneError
from finetune_advisor.feature_store import Common, FeatureStore
from finetune_advisor.instruments import Change, Instrument
from finetune_advisor.techniques.preprocessing.settings import Preprocess

TOGETHER_ON_GPU = 256
"""Images that go through a network together where a GPU is to be kept busy."""

FloatArray = npt.NDArray[np.float32]
Readings = Callable[[], dict[str, FloatArray]]
"""Waits for the end of a pass and gives what was read in it, by name."""


def changed(x_BCHW: Tensor, change: Change | None) -> Tensor:
    """The same images (B, C, H, W), uint8, turned, mirrored or without color (luma of ITU-R BT.601, as in Pillow)."""
    match change:
        case None:
            return x_BCHW
        case "horizontal_flip":
            return x_BCHW.flip(3)
        case "vertical_flip":
            return x_BCHW.flip(2)
        case "rotation_90":
            return x_BCHW.rot90(1, (2, 3))
        case "gray":
            luma_C = torch.tensor([0.299, 0.587, 0.114], device=x_BCHW.device).view(1, 3, 1, 1)
            gray_B1HW = (x_BCHW * luma_C).sum(1, keepdim=True).round().to(torch.uint8)
            return gray_B1HW.expand_as(x_BCHW)


@dataclass
class Reader:
    """A frozen network that reads uint8 images, by whichever way is fastest here."""

    trunk: FrozenTrunk
    preprocess: Preprocess
    images: int
    """That are still to come."""
    keep: bool
    """Whether the cache on disk is used."""
    _graph: InferenceGraph | None = None
    _begun: bool = False

    @staticmethod
    def of(instrument: Instrument, device: str, *, images: int, keep: bool) -> Reader:
        """Build the network of an instrument."""
        backbone = build(instrument.backbone, instrument.weights, seed=instrument.seed, size=instrument.preprocess.size)
        trunk = FrozenTrunk(backbone, device=device, norm_statistics=True)
        return Reader(trunk, instrument.preprocess, images, keep)

    @cached_property
    def common(self) -> Common:
        """What the readings of all images share."""
        reference = {
            stage: np.stack([mean_C.cpu().numpy(), variance_C.cpu().numpy()])
            for stage, (mean_C, variance_C) in reference_norms(self.trunk.backbone).items()
        }
        return Common(tuple(stage.name for stage in self.trunk.stages), reference)

    def __call__(self, x_BCHW: Tensor) -> dict[str, FloatArray]:
        """What the network reads in images (B, C, H, W), by name."""
        return self.begin(x_BCHW)()

    def begin(self, x_BCHW: Tensor) -> Readings:
        """Set off a pass over images (B, C, H, W); a GPU is at work on it while the caller does something else."""
        if not self._begun:
            self._graph, self._begun = self._open_graph(x_BCHW), True
        if self._graph is not None:
            try:
                readings = self._graph(x_BCHW)
            except NoGraph as reason:
                self._graph = None
                do_without(self.trunk.backbone.name, reason)
            else:
                return lambda: readings
        return self.trunk.begin(normalize(self.sent(x_BCHW), self.preprocess))

    def sent(self, x_BCHW: Tensor) -> Tensor:
        """Images on the device of the network; a GPU gets them while the caller does something else."""
        return sent_to(self.trunk.device, x_BCHW)

    @property
    def together(self) -> int:
        """Images that fill the device, of which a graph takes as many as are good for it."""
        return 1 if self.trunk.device.type == "cpu" else TOGETHER_ON_GPU

    def _open_graph(self, x_BCHW: Tensor) -> InferenceGraph | None:
        if self.trunk.device.type != "cpu":
            return None
        p = self.preprocess
        return open_graph_if_worth(self.trunk, x_BCHW, mean=p.mean, std=p.std, images=self.images, keep=self.keep)


@dataclass
class Recorder:
    """Shows images to one instrument, and keeps what it sees in a store."""

    reader: Reader
    instrument: Instrument
    store: FeatureStore
    _waiting: list[tuple[list[str], Tensor]] = field(default_factory=list)
    """Digests and images that are too few for a pass, on the device."""
    _last: tuple[list[str], Readings] | None = None
    """The digests last shown, and what waits for the end of their pass."""

    @property
    def preprocess(self) -> Preprocess:
        return self.instrument.preprocess

    @property
    def common(self) -> Common:
        return self.reader.common

    def record(self, digests: Sequence[str], x_BCHW: Tensor) -> None:
        """Show the network those of the images that its store lacks, or keep them until they fill the device.

        What it reads is written down at the next pass, so a GPU is at work while the next images are fetched.
        """
        rows = [row for row, digest in enumerate(digests) if digest not in self.store]
        if rows:
            x_BCHW = x_BCHW if len(rows) == len(digests) else x_BCHW[rows]
            self._waiting.append(([digests[row] for row in rows], self.reader.sent(x_BCHW)))
            if sum(len(some) for some, _ in self._waiting) >= self.reader.together:
                self._show()

    def finish(self) -> None:
        """Show and write down the last images, and write everything to the disk."""
        self._show()
        self._write_down()
        self.store.flush(self.common)

    def _show(self) -> None:
        if self._waiting:
            digests = [digest for some, _ in self._waiting for digest in some]
            x_BCHW = torch.cat([images for _, images in self._waiting])
            self._waiting = []
            readings = self.reader.begin(changed(x_BCHW, self.instrument.change).contiguous())
            self._write_down()
            self._last = digests, readings

    def _write_down(self) -> None:
        if self._last is not None:
            digests, readings = self._last
            read = readings()
            self._require_numbers(read)
            self.store.add(digests, read, self.common)
            self._last = None

    def _require_numbers(self, read: Mapping[str, FloatArray]) -> None:
        """Linear classifiers of NaN know nothing and do not say so."""
        for name, values in read.items():
            if not np.isfinite(values).all():
                raise BackboneError(
                    f"{self.instrument.backbone} with {self.instrument.weights} weights answers with NaN or infinity "
                    f"to some images ({name}).",
                    "Its weights are damaged, or made for another precision: try others with --weights.",
                )


def recorders(wanted: Sequence[tuple[Instrument, FeatureStore, int]], device: str, *, keep: bool) -> Iterator[Recorder]:
    """A recorder for each instrument with its store and the number of images the store lacks.

    Instruments that differ only in what is done to the pixels share one network.
    """
    images = Counter[Instrument]()
    for instrument, _, lacking in wanted:
        images[unchanged(instrument)] += lacking
    readers = {each: Reader.of(each, device, images=count, keep=keep) for each, count in images.items()}
    for instrument, store, _ in wanted:
        yield Recorder(readers[unchanged(instrument)], instrument, store)


def unchanged(instrument: Instrument) -> Instrument:
    """The instrument that is shown the pixels as they are."""
    return replace(instrument, change=None)
