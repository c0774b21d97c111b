"""Which tables of images are accepted, and what a person is told about the rows of those that are not."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import open_source, require_trainable

IMAGES = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")


class WriteManifest(Protocol):
    """Writes a manifest and returns it; see the fixture `manifest`."""

    def __call__(self, text: str | bytes, name: str = "labels.csv") -> Path: ...


@pytest.fixture
def manifest(tmp_path: Path) -> WriteManifest:
    """Writes a manifest beside four empty images; listing opens none of them."""
    for name in IMAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def write(text: str | bytes, name: str = "labels.csv") -> Path:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    return write


def rows(*splits: str, header: str = "path,label,split") -> str:
    return "\n".join([header, *(f"{name},{name[0]},{split}" for name, split in zip(IMAGES, splits, strict=True))])


def error_of(path: Path, *, group: str | None = None, path_column: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        open_source(path, group=group, path_column=path_column)
    assert caught.value.hint, "an error without a hint leaves the person alone"
    return str(caught.value)


def test_rows_become_samples(manifest: WriteManifest, tmp_path: Path) -> None:
    path = manifest("path,label\nb/1.jpg,bee\na/2.jpg,ant\na/1.jpg,ant\nb/2.jpg,bee\n")
    listing = open_source(path)
    assert (listing.root, listing.source, listing.classes) == (tmp_path, str(path), ("ant", "bee"))
    assert [(s.name, s.label, s.split, s.group) for s in listing.samples[1:3]] == [
        ("a/2.jpg", 0, None, None),
        ("b/1.jpg", 1, None, None),
    ]
    assert listing.samples[0].path == tmp_path / "a" / "1.jpg"
    require_trainable(listing)


def test_the_order_depends_on_names_only_and_is_natural(manifest: WriteManifest) -> None:
    path = manifest("path,label\nimg10.jpg,10\nimg9.jpg,9\na/1.jpg,1\n")
    assert [sample.name for sample in open_source(path).samples] == ["a/1.jpg", "img9.jpg", "img10.jpg"]
    assert open_source(path).classes == ("1", "9", "10")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffPath , LABEL,Split\r\na/1.jpg,a,TRAIN\r\na/2.jpg, a ,Validation\r\n",
        "split,note,label,path\ntrain,x,a,a/1.jpg\nvalid,,a,a/2.jpg\n",
        '"path","label","split"\n"a/1.jpg","a","Train"\n"a/2.jpg","a","val"',
        "path,label,split\n\na/1.jpg,a,train\n,,\n  , ,\na/2.jpg,a,VALID\n\n",
    ],
    ids=["spreadsheet", "any order, other columns", "quoted", "blank rows"],
)
def test_spellings_that_are_accepted(manifest: WriteManifest, text: str) -> None:
    listing = open_source(manifest(text))
    assert [(s.name, listing.classes[s.label], s.split) for s in listing.samples] == [
        ("a/1.jpg", "a", "train"),
        ("a/2.jpg", "a", "val"),
    ]


def test_tabs_separate_a_tsv(manifest: WriteManifest) -> None:
    listing = open_source(manifest("path\tlabel\na/1.jpg\tants, red\n", "labels.tsv"))
    assert listing.classes == ("ants, red",)


def test_absolute_paths_and_backslashes(manifest: WriteManifest, tmp_path: Path) -> None:
    listing = open_source(manifest(f"path,label\n{tmp_path / 'a' / '1.jpg'},a\nb\\2.jpg,b\n"))
    assert {sample.name for sample in listing.samples} == {str(tmp_path / "a" / "1.jpg"), "b/2.jpg"}
    assert all(sample.path.is_file() for sample in listing.samples)


@pytest.mark.skipif(sys.platform == "win32", reason="no file is called so there")
def test_a_file_that_is_called_with_a_backslash_is_found(manifest: WriteManifest, tmp_path: Path) -> None:
    (tmp_path / "odd\\name.jpg").touch()
    assert open_source(manifest("path,label\nodd\\name.jpg,a\n")).samples[0].path.is_file()


def test_bytes_that_are_no_unicode_in_a_path_are_kept(manifest: WriteManifest, tmp_path: Path) -> None:
    odd = tmp_path / "caf\udce9.jpg"
    odd.touch()
    assert open_source(manifest(b"path,label\ncaf\xe9.jpg,a\n")).samples[0].path == odd


def test_a_missing_file_stays_so_that_it_is_reported(manifest: WriteManifest) -> None:
    listing = open_source(manifest("path,label\na/1.jpg,a\na/lost.jpg,a\n"))
    assert [sample.path.exists() for sample in listing.samples] == [True, False]


def test_all_files_missing_shows_where_one_was_looked_for(
    manifest: WriteManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    path = manifest("path,label\na/1.jpg,a\na/2.jpg,a\n", "lists/labels.csv")
    message = error_of(path)
    assert "names 2 images, and not one of the files is there" in message
    assert str(tmp_path / "lists" / "a" / "1.jpg") in message
    assert "relative to the manifest" in message
    monkeypatch.chdir(tmp_path)
    assert f"{tmp_path} does hold a/1.jpg" in error_of(path)


def test_groups_by_the_column_called_so_or_by_another(
    manifest: WriteManifest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = manifest("path,label,group,Patient\na/1.jpg,a,1,x\na/2.jpg,a,1,y\nb/1.jpg,b,,z\n")
    assert [sample.group for sample in open_source(path).samples] == ["1", "1", None]
    assert "column 'group' stay together" in caplog.text
    assert "columns of labels.csv that are passed over: Patient" in caplog.text
    assert [sample.group for sample in open_source(path, group="patient").samples] == ["x", "y", "z"]
    assert [open_source(path, group=group).group_column for group in (None, "patient")] == ["group", "Patient"]


def test_a_group_column_that_is_not_there(manifest: WriteManifest) -> None:
    message = error_of(manifest("path,label,patient\na/1.jpg,a,1\n"), group="pateint")
    assert "no column 'pateint' to group by; did you mean 'patient'?" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("path,label\n", "has a header but no rows"),
        ("path,klass\na/1.jpg,a\n", "no column 'label'. Its columns: path, klass"),
        ("paths,lable\na/1.jpg,a\n", "'path'; did you mean 'paths', 'label'; did you mean 'lable'"),
        ("a/1.jpg,a\na/2.jpg,a\n", "looks like an image's, not like a header"),
        ("path,label,label\na/1.jpg,a,b\n", "two columns called 'label'"),
        ('path,label\na/1.jpg,a\n"a/2.jpg,a\nb/1.jpg,b\n', "line 3: unexpected end of data"),
        ("path,label\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_tables_that_are_no_manifests(manifest: WriteManifest, text: str | bytes, says: str) -> None:
    assert says in error_of(manifest(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\n,a\n\n,b\n", "2 rows without a path (lines 2, 4)"),
        ("path,label\na/1.jpg,a,b\n", "1 row with another number of cells than the header"),
        (
            "path,label\na/1.jpg,a\na/1.jpg,a\n",
            "1 row with a path that stands above already, with the same label (line 3)",
        ),
        ("path,label\na/1.jpg,a\n./a//1.jpg,b\n", "stands above already, with another label (line 3)"),
        ("path,label\na/1.jpg,a\nb/../a/1.jpg,a\n", "stands above already, with the same label (line 3)"),
        (rows("train", "", "devel", "final"), "2 rows with an unknown split: 'devel', 'final' (lines 4, 5)"),
        (
            rows("train", "", "test", ""),
            "2 rows without a split, while others have one; fill in all or none (lines 3, 5)",
        ),
        (b"path,label\na/1.jpg,\xe9t\xe9\n", "label that is not UTF-8"),
        (b"path,label\na/1\0.jpg,a\n", "NUL byte"),
    ],
)
def test_rows_that_cannot_be_used(manifest: WriteManifest, text: str | bytes, says: str) -> None:
    assert says in error_of(manifest(text))


def test_every_kind_of_problem_is_told_at_once_and_long_lists_are_cut(manifest: WriteManifest) -> None:
    text = "path,label,split\n" + ",b,train\n" * 9 + "a/0\0.jpg,a,train\na/1.jpg,a,devel\n"
    message = error_of(manifest(text))
    assert "9 rows without a path (lines 2, 3, 4, 5, 6, ...)" in message
    assert "1 row with a NUL byte in the path (line 11)" in message
    assert "1 row with an unknown split: 'devel' (line 12)" in message
    assert "Known splits, in any case: train, training, val, valid, validation, dev, eval, evaluation, test" in message


def test_an_empty_split_column_means_not_split_yet(manifest: WriteManifest) -> None:
    assert {sample.split for sample in open_source(manifest(rows("", "", "", ""))).samples} == {None}


def test_hostile_labels_are_kept_as_they_are(manifest: WriteManifest) -> None:
    path = manifest('path,label\na/1.jpg,"<script>alert(1)</script>"\na/2.jpg,"=cmd(""x"")"\nb/1.jpg,蟻\n')
    assert open_source(path).classes == ("<script>alert(1)</script>", '=cmd("x")', "蟻")


def parquet(target: Path, /, **columns: Sequence[object]) -> Path:
    pytest.importorskip("pyarrow.parquet").write_table(pytest.importorskip("pyarrow").table(columns), target)
    return target


def test_parquet_with_labels_that_are_numbers(manifest: WriteManifest, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    labels = pyarrow.array(["ant", "ant", "bee", "bee"]).dictionary_encode()
    for label, classes in (([2, 2, 10, 10], ("2", "10")), ([2.0, 2.0, 3.0, 3.0], ("2", "3")), (labels, ("ant", "bee"))):
        manifest("")
        path = parquet(tmp_path / "labels.parquet", path=IMAGES, Label=label, split=["train", "test"] * 2)
        listing = open_source(path)
        assert listing.classes == classes
        assert [sample.split for sample in listing.samples] == ["train", "test"] * 2


def test_parquet_that_cannot_be_used(manifest: WriteManifest, tmp_path: Path) -> None:
    manifest("")
    path = tmp_path / "x.parquet"
    assert "no column 'label'" in error_of(parquet(path, path=IMAGES, label=[[1], [2], [3], [4]]))
    not_utf8 = pytest.importorskip("pyarrow").array([b"caf\xe9.jpg"]).view("string")
    assert "no readable Parquet file: 'utf-8' codec" in error_of(parquet(path, path=not_utf8, label=["a"]))
    path.write_bytes(b"PAR1 no")
    assert "no readable Parquet file" in error_of(path)


def test_parquet_without_its_library_says_what_to_install(
    manifest: WriteManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in error_of(manifest(b"PAR1", "x.parquet"))


def test_a_real_manifest_names_images_of_its_folder(shared_data: Path) -> None:
    listing, folder = (
        open_source(shared_data / "tile_defects" / "groups.csv"),
        open_source(shared_data / "tile_defects"),
    )
    assert listing.classes == folder.classes
    assert {(s.name, s.label) for s in listing.samples} <= {(s.name, s.label) for s in folder.samples}
    assert (len(listing.part("train")), len(listing.part("test"))) == (942, 402)
    assert all(sample.group for sample in listing.samples)
    assert listing.notes == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("path;label\na/1.jpg;a\nb/1.jpg;b, c\n", "labels.csv"),
        ("path\tlabel\na/1.jpg\ta\nb/1.jpg\tb, c\n", "labels.csv"),
        ("path|label\na/1.jpg|a\nb/1.jpg|b, c\n", "labels.csv"),
        ("path;label\na/1.jpg;a\nb/1.jpg;b, c\n", "labels.tsv"),
        ('path,label\na/1.jpg,a\nb/1.jpg,"b, c"\n', "labels.tsv"),
    ],
)
def test_the_separator_is_seen_in_the_header(manifest: WriteManifest, text: str, name: str) -> None:
    assert open_source(manifest(text, name)).classes == ("a", "b, c")


@pytest.mark.parametrize("missing", ["", "  ", "NaN", "nan", "<NA>", "#N/A"])
def test_rows_without_a_label_are_left_out_and_counted(
    manifest: WriteManifest, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    listing = open_source(manifest(f"path,label\na/1.jpg,a\na/2.jpg,{missing}\nb/1.jpg,b\nb/2.jpg,{missing}\n"))
    assert (listing.classes, len(listing.samples)) == (("a", "b"), 2)
    assert listing.notes == ("2 rows without a label (lines 3, 5) left out of labels.csv.",)
    assert listing.notes[0] in caplog.text
    assert "No row of" in error_of(manifest(f"path,label\na/1.jpg,{missing}\n"))


def test_rows_of_a_parquet_without_a_label_are_left_out(manifest: WriteManifest, tmp_path: Path) -> None:
    manifest("")
    listing = open_source(parquet(tmp_path / "x.parquet", path=IMAGES, label=["a", None, "b", ""]))
    assert (listing.classes, len(listing.samples)) == (("a", "b"), 2)
    assert listing.notes == ("2 rows without a label (rows 2, 4) left out of x.parquet.",)
    numbers = open_source(parquet(tmp_path / "x.parquet", path=IMAGES, label=[1.0, float("nan"), 0.0, 0.0]))
    assert (numbers.classes, len(numbers.samples)) == (("0", "1"), 3)


@pytest.mark.parametrize(
    ("header", "places"),
    [
        ("filename,class", 1),
        ("image,label", 1),
        ("Id,Category", 1),
        ("file,target", 1),
        ("img,label", 1),
        ("image_id,dx", 1),
        ("File Name,Class Name", 1),
        ("image_path,species", 1),
        ("id,file_name,label", 2),
        ("label,path,class", None),
    ],
)
def test_usual_names_of_columns(manifest: WriteManifest, header: str, places: int | None) -> None:
    if places == 1:
        text = "".join(f"{name},{name[0]}\n" for name in IMAGES)
    elif places == 2:
        text = "".join(f"{number},{name},{name[0]}\n" for number, name in enumerate(IMAGES))
    else:
        text = "".join(f"{name[0]},{name},other\n" for name in IMAGES)
    listing = open_source(manifest(f"{header}\n{text}"))
    assert [(s.name, listing.classes[s.label]) for s in listing.samples] == [(name, name[0]) for name in IMAGES]


def test_columns_that_a_person_names(manifest: WriteManifest) -> None:
    path = manifest("where,what,label\n" + "".join(f"{name},{name[0]},same\n" for name in IMAGES))
    listing = open_source(path, path_column="where", label_column="What")
    assert (listing.classes, len(listing.samples)) == (("a", "b"), 4)
    assert listing.reading.path_column == "where"
    message = error_of(path)
    assert "no column 'path'" in message
    assert "--path-column" in message
    assert "no column 'wher' as --path-column says; did you mean 'where'?" in error_of(path, path_column="wher")
    both = manifest("path,class,target\na/1.jpg,a,1\n")
    assert "several columns that may hold the labels: class, target" in error_of(both)
    assert open_source(both, label_column="target").classes == ("1",)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("set", ("train", "Train", "val", "test")),
        ("subset", ("training", "training", "dev", "testing")),
        ("Partition", ("TRAIN", "train", "validation", "TEST")),
        ("phase", ("train", "train", "eval", "test")),
        ("fold", ("train", "train", "valid", "test")),
    ],
)
def test_a_column_called_otherwise_says_the_split_where_its_values_do(
    manifest: WriteManifest, column: str, values: tuple[str, ...]
) -> None:
    listing = open_source(manifest(rows(*values, header=f"path,label,{column}")))
    assert [sample.split for sample in listing.samples] == ["train", "train", "val", "test"]
    assert not any(column in note for note in listing.notes)


@pytest.mark.parametrize(
    ("column", "values", "splits"),
    [
        ("is_valid", ("False", "0", "True", "1"), ["train", "train", "val", "val"]),
        ("is_test", ("no", "no", "yes", "no"), ["train", "train", "test", "train"]),
        ("is_train", ("1", "true", "0", "0.0"), ["train", "train", "test", "test"]),
    ],
)
def test_a_column_of_yes_and_no_says_the_split(
    manifest: WriteManifest, column: str, values: tuple[str, ...], splits: list[str]
) -> None:
    listing = open_source(manifest(rows(*values, header=f"path,label,{column}")))
    assert [sample.split for sample in listing.samples] == splits


def test_two_columns_that_say_the_split_are_joined(manifest: WriteManifest) -> None:
    cells = ("0,0", "0,0", "1,0", "0,1")
    listing = open_source(manifest(rows(*cells, header="path,label,is_valid,is_test")))
    assert [sample.split for sample in listing.samples] == ["train", "train", "val", "test"]
    both = manifest(rows("0,0", "0,0", "1,0", "1,1", header="path,label,is_valid,is_test"))
    assert "1 row in val by one column and in test by another (line 5)" in error_of(both)


def test_a_split_column_with_values_of_its_own_is_no_split_and_named(
    manifest: WriteManifest, caplog: pytest.LogCaptureFixture
) -> None:
    listing = open_source(manifest(rows("0", "1", "2", "3", header="path,label,fold")))
    assert {sample.split for sample in listing.samples} == {None}
    [note] = listing.notes
    assert "The column 'fold' is not read as a split, its values are no words for one: '0', '1', '2', ..." in note
    assert note in caplog.text
    some = manifest(rows("train", "train", "test", "spare", header="path,label,set"))
    assert "1 row with an unknown split in column 'set': 'spare' (line 5)" in error_of(some)


def test_the_column_split_counts_before_others(manifest: WriteManifest) -> None:
    listing = open_source(manifest(rows(*["train,test"] * 4, header="path,label,split,set")))
    assert {sample.split for sample in listing.samples} == {"train"}


@pytest.mark.parametrize("column", ["patient", "Patient_ID", "group_id", "subject", "scene", "lesion_id"])
def test_a_column_of_groups_that_is_not_used_is_named(
    manifest: WriteManifest, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = manifest(rows("p", "p", "q", "r", header=f"path,label,{column}"))
    [note] = open_source(path).notes
    assert f"The column {column!r} is not used: its 3 values repeat over 4 images" in note
    assert f"--group {column} (recipe: data.group)" in note
    assert note in caplog.text
    assert open_source(path, group=column).notes == ()
    assert open_source(manifest(rows(*"pqrs", header=f"path,label,{column}"))).notes == ()


@pytest.mark.parametrize(
    ("there", "written", "says"),
    [
        ("cat 1.jpeg", "cat 1.jpg", "which differs in the suffix"),
        ("0001.png", "0001", "which differs in the suffix"),
        ("train/cat/1.jpg", "data/train/cat/1.jpg", "in another folder"),
        ("images/deep/1.jpg", "1.jpg", "in another folder"),
        ("Images/IMG_1.JPG", "images/img_1.jpg", "which differs in case"),
        ("x.jpg", "x.jpg ", "which differs in surrounding blanks"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg", "which differs in how accents are encoded"),
    ],
)
def test_paths_that_are_nearly_right_are_named(tmp_path: Path, there: str, written: str, says: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    (tmp_path / "labels.csv").write_text(f"path,label\n{written},a\n", encoding="utf-8")
    message = error_of(tmp_path / "labels.csv")
    assert f"There is {tmp_path / there}, {says}" in message


def test_urls_in_a_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\nhttps://example.org/1.jpg,a\n")
    assert "https://example.org/1.jpg is a URL: download" in error_of(tmp_path / "labels.csv")


def test_some_files_that_are_not_there_are_counted(manifest: WriteManifest) -> None:
    [note] = open_source(manifest("path,label\na/1.jpg,a\na/2.jpeg,a\nb/1.jpg,b\n")).notes
    assert "1 of 3 files in labels.csv are not there, such as a/2.jpeg. There is" in note
    assert "differs in the suffix" in note


def test_a_path_that_is_too_long_for_a_file_is_one_that_is_not_there(manifest: WriteManifest) -> None:
    name = "x" * 5000 + ".jpg"
    assert "not one of the files is there" in error_of(manifest(f"path,label\n{name},a\n{'y' * 300}.jpg,b\n"))
