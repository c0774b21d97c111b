"""How long listing takes and how much memory, for a folder and for manifests of many images.

    python benchmarks/listing.py --images 1000000

Makes so many empty files in a temporary folder (removed at the end), 100 classes under train/ and test/, and lists them
in fresh processes: as a folder, and by a CSV and, where pyarrow is installed, a Parquet manifest with groups. Listing
opens no image, so that empty files do. The files were just made, so the cache of the disk is warm. Peaks are read from
/proc: Linux only.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from machine import stamp

CLASSES = 100
BOUNDS = {"seconds": 60.0, "gigabytes": 1.5}
"""What listing a million files may take."""

CHILD = """
import json, re, sys, time
from pathlib import Path
def peak():  # ru_maxrss would count the parent, as it was before exec
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e9
start = time.perf_counter()
from finetune_advisor.images.sources import open_source, require_trainable
imported = time.perf_counter()
listing = open_source(sys.argv[1])
listed = time.perf_counter()
gigabytes = peak()
require_trainable(listing)
from finetune_advisor.images.sample import stratified_sample
sample = stratified_sample(listing, 20_000, seed=0)
print(json.dumps({
    "images": len(listing.samples), "import": imported - start, "seconds": listed - imported,
    "gigabytes": gigabytes, "check and sample": time.perf_counter() - listed,
    "gigabytes at the end": peak(),
}))
"""


def names(images: int) -> Iterator[tuple[str, str, str]]:
    """Path, label and split of each image."""
    for number in range(images):
        label = f"class {number % CLASSES:03d}"
        split = "test" if number // CLASSES % 5 == 0 else "train"
        yield f"{split}/{label}/image_{number:08d}.jpg", label, split


def make_files(root: Path, images: int) -> None:
    for split in ("train", "test"):
        for label in range(CLASSES):
            (root / split / f"class {label:03d}").mkdir(parents=True)
    for name, _, _ in names(images):
        (root / name).touch()


def make_manifests(root: Path, images: int) -> list[Path]:
    """The manifests that could be written."""
    rows = [(*row, f"patient {number // 4}") for number, row in enumerate(names(images))]
    columns = ["path", "label", "split", "group"]
    paths = [root / "manifest.csv"]
    with paths[0].open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        print("pyarrow is not installed: no Parquet", file=sys.stderr)
        return paths
    paths.append(root / "manifest.parquet")
    pyarrow.parquet.write_table(
        pyarrow.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))), paths[1]
    )
    return paths


def timed(path: Path) -> dict[str, float]:
    """What a fresh process reports about listing `path`."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        make_files(root, options.images)
        for path in [root, *make_manifests(root, options.images)]:
            kind = path.suffix.lstrip(".") or "folder"
            found[kind] = timed(path)
            row = found[kind]
            print(
                f"{kind:8} {row['images']:>9,.0f} images {row['seconds']:6.1f} s {row['gigabytes']:5.2f} GB peak; "
                f"check and sample {row['check and sample']:.1f} s, {row['gigabytes at the end']:.2f} GB peak"
            )
    if options.out:
        options.out.write_text(json.dumps({**stamp(), "bounds": BOUNDS, "measured": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
