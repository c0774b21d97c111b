"""A run diagnosed, with its own validation images."""

from __future__ import annotations

import logging

from finetune_advisor.artifacts.diagnosis import Diagnosis
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.diagnosis.diagnose import diagnose
from finetune_advisor.diagnosis.weights import MOST_IMAGES
from finetune_advisor.errors import StorageError
from finetune_advisor.workflows.run_images import some_images

log = logging.getLogger(__name__)


def diagnose_run(run: RunDir, *, device: str = "cpu") -> Diagnosis:
    """Diagnose a run and keep what was seen in its folder, where that can be written.

    Raises:
        RunError, RecipeError, DataError: see `diagnose`.
    """
    diagnosis = diagnose(run, images=some_images(run, "val", MOST_IMAGES), device=device)
    try:
        diagnosis.save(run.diagnosis)
    except StorageError as problem:
        log.warning("the diagnosis is not kept: %s", problem.message)
    return diagnosis
