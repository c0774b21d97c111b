"""Measure the data sets that the report compares a user's data with, and write them where the report reads them.

    .venv/bin/python benchmarks/similarity_references.py DATA_DIR --write

DATA_DIR holds a folder, or an archive NAME.tar.gz, for each name in SETS. Labels and test images play no part: the
score is of the training images where there is a split, on 2,000 images at most. Run it whenever the measure of
similarity changes.
Without --write the file is printed only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml
from data_sets import training_images
from machine import stamp

from finetune_advisor.analysis.similarity import similarity
from finetune_advisor.features.extract import Features, measure, ruler
from finetune_advisor.processes import default_workers
from finetune_advisor.records.profile import Similarity
from finetune_advisor.reporting.charts import REFERENCES_FILE
from finetune_advisor.storage.files import atomic_write

SETS = {
    "imagenet_sample": "ImageNet photographs",
    "hymenoptera": "ants and bees",
    "food": "photographs of food",
    "textures": "textures",
    "cifar10": "CIFAR-10 (32 px)",
    "tile_defects": "tile defects",
    "mnist10k": "handwritten digits",
}
"""Folder -> what the report calls it."""

TOP = """# How similar to ImageNet known data sets are: what the report draws beside the user's data.
#
# Measured by `{command}`
# {machine}
"""


def seen(paths: list[Path]) -> Features:
    return measure(paths, [ruler()], device="cpu", workers=default_workers()).features[0]


def row(measured: Similarity) -> dict[str, object]:
    return {
        "score": round(measured.score, 3),
        "per_stage": {stage.stage: round(stage.score, 3) for stage in measured.per_stage},
    }


def text(rows: dict[str, dict[str, object]]) -> str:
    """The file, most similar first."""
    ordered = dict(sorted(rows.items(), key=lambda item: -float(str(item[1]["score"]))))
    return TOP.format(**stamp()) + yaml.safe_dump(ordered, sort_keys=False, default_flow_style=None, width=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data sets")
    parser.add_argument("--write", action="store_true", help=f"write {REFERENCES_FILE.name} in the package")
    options = parser.parse_args()
    rows: dict[str, dict[str, object]] = {}
    for folder, name in SETS.items():
        with training_images(options.data, folder) as paths:
            rows[name] = row(similarity(seen(paths), seed=0))
    found = text(rows)
    print(found)
    if options.write:
        atomic_write(REFERENCES_FILE, found)


if __name__ == "__main__":
    main()
