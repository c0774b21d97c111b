"""What in a data folder is no data: our own output, and what systems put there."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.images.sources import open_source
from finetune_advisor.images.sources.scan import images_below


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def data(root: Path) -> Path:
    return put(root, *(f"{name}/{number}.jpg" for name in ("ants", "bees") for number in range(2)))


@pytest.mark.parametrize(
    "output",
    [
        ("analysis/profile.json", "analysis/report.html", "analysis/clean.csv"),
        ("first look/profile.json", "first look/report.html"),
        ("runs/data-1/recipe.yaml", "runs/data-1/metrics.json", "runs/data-1/figures/curves.png"),
        ("runs/data-1/recipe.yaml", "runs/data-1/history.jsonl", "runs/data-1/checkpoints/last.safetensors"),
        ("tries/a/recipe.yaml", "tries/a/metrics.json", "tries/b/recipe.yaml", "tries/b/run.log", "tries/b/x/1.png"),
        ("race/a/recipe.yaml", "race/a/metrics.json", "race/a/figures/curves.png"),
        ("both/plan.json", "both/ensemble.json", "both/members/1/figures/x.png"),
        ("exported/config.json", "exported/model.safetensors", "exported/samples/1.png"),
        ("demo/recipe.yaml", "demo/digits/train/0/1.png", "demo/digits/train/1/1.png"),
        ("runs/.lock", "analysis/.part"),
    ],
)
def test_what_this_package_wrote_is_no_data(tmp_path: Path, output: tuple[str, ...]) -> None:
    before = open_source(data(tmp_path))
    (tmp_path / "recipe.yaml").write_text("# A linear_probe recipe for data, written by `finetune-advisor analyze`.\n")
    after = open_source(put(tmp_path, *output))
    assert (after.classes, after.samples, after.ignored) == (before.classes, before.samples, before.ignored)
    assert len(images_below(tmp_path)) == 4


@pytest.mark.parametrize("place", ["train", "ants"])
def test_neither_is_it_deeper_in_the_data(tmp_path: Path, place: str) -> None:
    root = data(tmp_path / "train").parent if place == "train" else data(tmp_path)
    before = open_source(root)
    put(root / place / "analysis", "profile.json", "report.html")
    put(root / place / "runs" / "a", "recipe.yaml", "metrics.json", "figures/curves.png")
    assert open_source(root).samples == before.samples


def test_classes_may_be_called_like_our_folders(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/{number}.jpg" for name in ("runs", "analysis", "race") for number in range(2)))
    put(tmp_path, "runs/recipe.yaml", "runs/metrics.json")
    listing = open_source(tmp_path)
    assert listing.classes == ("analysis", "race", "runs"), "images directly in a folder make it a class"
    assert len(listing.samples) == 6


def test_what_systems_leave_behind_is_no_data(tmp_path: Path) -> None:
    names = (
        "@eaDir",
        ".git",
        "__MACOSX",
        ".ipynb_checkpoints",
        ".thumbnails",
        "$RECYCLE.BIN",
        "lost+found",
        "#recycle",
    )
    before = open_source(data(tmp_path))
    for name in names:
        put(tmp_path, f"{name}/1.jpg", f"ants/{name}/thumb.jpg")
    put(tmp_path, "ants/.DS_Store", "ants/Thumbs.db", "ants/desktop.ini", "System Volume Information/x.png")
    after = open_source(tmp_path)
    assert (after.classes, after.samples, after.ignored) == (before.classes, before.samples, before.ignored)
