"""Options that several commands share."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer


class DeviceName(StrEnum):
    """What `--device` takes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class ClassFoldersName(StrEnum):
    """What `--class-folders` takes: the level of the folders that are the classes."""

    outer = "outer"
    inner = "inner"


LARGEST_SEED = 2**32 - 1

DeviceOption = Annotated[DeviceName, typer.Option("--device", help="Where the network runs.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Images that go through the network together.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.")]
PathColumnOption = Annotated[
    str | None,
    typer.Option("--path-column", metavar="COLUMN", help="Column of a table with the paths, if not called path."),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option("--label-column", metavar="COLUMN", help="Column of a table with the classes, if not called label."),
]
ClassFoldersOption = Annotated[
    ClassFoldersName | None,
    typer.Option(
        "--class-folders",
        help="Where two levels of folders could be the classes: those in DATA, or those inside them.",
    ),
]
PlotOption = Annotated[bool, typer.Option("--plot", hidden=True, help="Of earlier versions.")]
NO_PLOT = "--plot no longer draws in the terminal: the curves are in report.html and in figures/."
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done at every step.")]


@dataclass(frozen=True)
class Verbosity:
    """How much a command says beside its result."""

    quiet: bool = False
    verbose: bool = False

    @property
    def log_level(self) -> int:
        if self.quiet:
            return logging.ERROR
        return logging.INFO if self.verbose else logging.WARNING
