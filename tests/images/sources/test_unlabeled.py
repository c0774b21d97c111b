"""Images that a model is asked about, by whatever names them."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import unlabeled
from finetune_advisor.images.sources.unlabeled import image_blocks

NOTHING = io.BytesIO()


class Pipe:
    """Gives out what was written, a piece at a time."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces, b""]
        self.read = 0

    def read1(self, size: int, /) -> bytes:
        self.read += 1
        return self.pieces[self.read - 1]


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


def test_a_stream_is_answered_as_it_is_written() -> None:
    pipe = Pipe(b"a.png\nb", b".png\r\n\n", b"c.png")
    blocks = image_blocks(["-"], pipe)
    assert pipe.read == 1, "nobody waits for a second line to answer the first"
    assert list(blocks) == [paths("a.png"), paths("b.png"), paths("c.png")]


def test_a_stream_without_end_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlabeled, "BLOCK", 4)

    class Endless:
        def read1(self, size: int, /) -> bytes:
            return b"x.png\n" * 10

    sizes = [len(block) for block in islice(image_blocks(["-"], Endless()), 4)]
    assert sizes == [4, 4, 2, 4]


def test_files_folders_and_the_stream_keep_their_order(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "10.png"):
        (tmp_path / name).touch()
    single = str(tmp_path / "2.png")
    blocks = list(image_blocks([single, str(tmp_path), "-", single], io.BytesIO(b"x.png\n")))
    assert [[path.name for path in block] for block in blocks] == [
        ["2.png", "1.png", "2.png", "10.png"],
        ["x.png"],
        ["2.png"],
    ]


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_a_table_names_images_beside_it(tmp_path: Path, suffix: str, separator: str) -> None:
    table = tmp_path / f"images.{suffix}"
    table.write_text(
        f"Label{separator}Path\nants{separator}ants/0.png\n\n{separator}/elsewhere/1.png\nbees{separator}\n"
    )
    assert list(image_blocks([str(table)], NOTHING)) == [[tmp_path / "ants/0.png", Path("/elsewhere/1.png")]]


def test_a_large_table_comes_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlabeled, "BLOCK", 4)
    (tmp_path / "images.csv").write_text("path\n" + "".join(f"{number}.png\n" for number in range(10)))
    assert [len(block) for block in image_blocks([str(tmp_path / "images.csv")], NOTHING)] == [4, 4, 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("where,label\n0.png,ants\n", "has no column 'path'"),
        ("paths;x\n0.png;1\n", "no column 'path'; did you mean 'paths'. Its columns: paths, x"),
        ("path,label\n0.png\n", "line 2, has another number of cells than the header"),
        ("", "is empty"),
        ("path\n", "No images in"),
    ],
)
def test_a_table_that_names_nothing(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "images.csv").write_text(content)
    with pytest.raises(DataError, match=says):
        image_blocks([str(tmp_path / "images.csv")], NOTHING)


def test_a_stream_without_a_line() -> None:
    with pytest.raises(DataError, match="No images in -"):
        image_blocks(["-"], NOTHING)


@pytest.mark.parametrize("header", ["path;x", "file_name;x", "image\tx"])
def test_a_table_is_read_as_for_training(tmp_path: Path, header: str) -> None:
    """By its separator, and by the usual names of its column."""
    separator = header[-2]
    (tmp_path / "images.csv").write_text(f"{header}\na.png{separator}1\n")
    assert list(image_blocks([str(tmp_path / "images.csv")], NOTHING)) == [[tmp_path / "a.png"]]
    (tmp_path / "odd.csv").write_text("where,path\na.png,b.png\n")
    blocks = image_blocks([str(tmp_path / "odd.csv")], NOTHING, path_column="where")
    assert list(blocks) == [[tmp_path / "a.png"]]


def test_a_name_that_is_nearly_right_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.JPG").touch()
    for wrong, says in (("one.jpg", "differs in case"), ("one.png", "differs in the suffix")):
        with pytest.raises(DataError) as caught:
            image_blocks([str(tmp_path / wrong)], NOTHING)
        assert f"There is {tmp_path / 'one.JPG'}, which {says}" in str(caught.value)
    with pytest.raises(DataError, match="is a URL"):
        image_blocks(["https://example.org/one.jpg"], NOTHING)


def test_paths_of_a_table_that_are_nearly_right_or_in_an_archive_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "one.png").touch()
    (tmp_path / "images.csv").write_text("path\none\n")
    assert list(image_blocks([str(tmp_path / "images.csv")], NOTHING)) == [[tmp_path / "one"]]
    assert f"There is {tmp_path / 'one.png'}, which differs in the suffix" in caplog.text
    (tmp_path / "set.zip").touch()
    (tmp_path / "clean.csv").write_text("path,label\nset.zip/ants/1.png,ants\n")
    with pytest.raises(DataError, match=r"names images inside .*set\.zip, which `predict` does not open"):
        image_blocks([str(tmp_path / "clean.csv")], NOTHING)
