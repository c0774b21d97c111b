"""`finetune-advisor evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import err, out, set_up_logging
from finetune_advisor.cli.options import (
    BatchOption,
    ClassFoldersOption,
    DeviceName,
    DeviceOption,
    JsonOption,
    LabelColumnOption,
    PathColumnOption,
    Verbosity,
)


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, an ensemble, or an exported model.")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Labeled images; where there is a test/ folder, only that is used.")
    ],
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the answer to each image here, as CSV.")
    ] = None,
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    class_folders: ClassFoldersOption = None,
    batch: BatchOption = 32,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
) -> None:
    """Score a finished run on labeled images: accuracy with its interval, and each class.

    One known class or one image is enough. DATA is read as the run's recipe reads its own where that fits. Images
    that trained or chose the model are recognized by content: how many there are, and the accuracy without them, is
    shown in red.

    Example: finetune-advisor evaluate runs/data-1 ./new_labeled_images
    """
    set_up_logging(Verbosity())
    from rich.text import Text

    from finetune_advisor.cli.render import render_scores
    from finetune_advisor.inference.predictor import evaluate_on
    from finetune_advisor.records.metrics import leak_sentence
    from finetune_advisor.records.rundir import RunDir

    scores = evaluate_on(
        RunDir(run),
        data,
        device=torch_device(device),
        batch=batch,
        answers=output,
        path_column=path_column,
        label_column=label_column,
        class_folders=class_folders.value if class_folders else None,
    )
    if as_json:
        if sentence := leak_sentence(scores, "images"):
            err.print(Text(sentence, "red"), soft_wrap=True)
        out.print_json(data=scores)
    else:
        out.print(render_scores(scores))
