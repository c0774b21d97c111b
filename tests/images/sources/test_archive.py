"""Archives become folders of the cache, once; what is dangerous or damaged in them leaves nothing behind."""

import errno
import io
import logging
import os
import random
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest

from finetune_advisor.errors import DataError, FinetuneAdvisorError, StorageError
from finetune_advisor.images.sources import archive, open_source
from finetune_advisor.images.sources import archive as extraction
from finetune_advisor.images.sources.archive import extract
from finetune_advisor.storage.files import cache_root

KINDS = ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz", "X.ZIP"]
FLAT = {"ants/1.jpg": b"1", "ants/2.jpg": b"22", "bees/1.jpg": b"333", "bees/2.jpg": b"4444"}


WRITING: Mapping[str, Literal["w", "w:gz", "w:bz2", "w:xz"]] = {
    ".tar": "w",
    ".gz": "w:gz",
    ".tgz": "w:gz",
    ".bz2": "w:bz2",
    ".xz": "w:xz",
}
"""How `tarfile` writes a file with this suffix."""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def packed(path: Path, members: Mapping[str, bytes]) -> Path:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, WRITING[path.suffix]) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    """A tar of two images and these members, which have no content."""
    packed(path, {"a/1.jpg": b"", "a/2.jpg": b""})
    with tarfile.open(path, "a") as archive:
        for member in members:
            archive.addfile(member)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def error_of(path: Path, kind: type[FinetuneAdvisorError] = DataError) -> str:
    """The message; after it nothing but folders may be left in the cache."""
    with pytest.raises(kind) as caught:
        open_source(path)
    assert caught.value.hint, "an error without a hint leaves the person alone"
    assert str(cache_root()) not in str(caught.value) or kind is StorageError, "it names the archive"
    return str(caught.value)


def left_in_cache() -> list[Path]:
    return [path for path in cache_root().rglob("*") if not path.is_dir() or path.suffix == ".part"]


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_is_listed_like_its_folder(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / name, FLAT)
    listing = open_source(path)
    assert (listing.classes, listing.source) == (("ants", "bees"), str(path))
    assert [sample.name for sample in listing.samples] == list(FLAT)
    assert [sample.path.read_bytes() for sample in listing.samples] == list(FLAT.values())


def test_an_archive_that_is_gone_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", FLAT)
    open_source(path)
    path.unlink()
    with pytest.raises(DataError, match=r"There is no file .*x\.zip"):
        open_source(path)


@pytest.mark.parametrize(
    ("prefix", "splits"),
    [("data/", {None}), ("my data/images/", {None}), ("train/", {"train"}), ("set/train/", {"train"})],
)
def test_single_folders_at_the_top_are_entered_but_splits_are_kept(
    tmp_path: Path, prefix: str, splits: set[None] | set[str]
) -> None:
    listing = open_source(packed(tmp_path / "x.zip", {"README.md": b"", **{prefix + name: b"" for name in FLAT}}))
    assert listing.classes == ("ants", "bees")
    assert {sample.split for sample in listing.samples} == splits


def test_a_single_class_is_no_folder_to_enter(tmp_path: Path) -> None:
    assert open_source(packed(tmp_path / "x.zip", {"ants/1.jpg": b""})).classes == ("ants",)


def test_what_mac_and_windows_leave_in_zips_is_passed_over(tmp_path: Path) -> None:
    clutter = {"__MACOSX/set/ants/._1.jpg": b"", "set/.DS_Store": b"", "set\\wasps\\1.jpg": b""}
    listing = open_source(packed(tmp_path / "x.zip", {**{f"set/{name}": b"" for name in FLAT}, **clutter}))
    assert listing.classes == ("ants", "bees", "wasps")


@pytest.mark.parametrize("prefix", ["", "set/"])
def test_a_manifest_in_the_archive_says_what_the_images_are(tmp_path: Path, prefix: str) -> None:
    images = {f"{prefix}{number}.jpg": b"" for number in range(3)}
    table = b"path,label,patient\n0.jpg,a,x\n1.jpg,b,y\n2.jpg,b,y\n"
    path = packed(tmp_path / "x.tar.gz", {**images, f"{prefix}labels.csv": table, f"{prefix}notes.csv": b"what,when\n"})
    listing = open_source(path, group="patient")
    assert (listing.classes, [s.group for s in listing.samples]) == (("a", "b"), ["x", "y", "y"])
    assert listing.source == str(path)


def test_a_group_asks_for_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no manifest, so it has no column 'patient'"):
        open_source(packed(tmp_path / "x.zip", FLAT), group="patient")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.jpg", "a/../../secret.jpg", "C:\\secret.jpg", "..\\secret.jpg"]
)
def test_a_manifest_in_an_archive_may_not_point_out_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").touch()
    path = packed(tmp_path / "x.zip", {"1.jpg": b"", "labels.csv": f"path,label\n1.jpg,a\n{name},b\n".encode()})
    assert f"{path}{os.sep}labels.csv" in (message := error_of(path))
    assert "1 row with a path that leads out of the archive (line 3)" in message


def test_two_manifests_are_one_too_many(tmp_path: Path) -> None:
    table = b"path,label\n1.jpg,a\n"
    message = error_of(packed(tmp_path / "x.zip", {"1.jpg": b"", "one.csv": table, "two.csv": table}))
    assert "more than one manifest: one.csv, two.csv" in message


def test_it_is_unpacked_once_whatever_it_is_called(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = open_source(packed(tmp_path / "x.zip", FLAT))
    (tmp_path / "x.zip").rename(tmp_path / "y.zip")
    assert open_source(tmp_path / "y.zip").samples == first.samples
    assert sum("unpacking" in message for message in caplog.messages) == 1
    packed(tmp_path / "y.zip", {**FLAT, "bees/3.jpg": b"new"})
    assert len(open_source(tmp_path / "y.zip").samples) == 5, "another content is another folder"


@pytest.mark.parametrize("damage", ["file lost", "file cut", "record lost", "record damaged"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    path = packed(tmp_path / "x.zip", FLAT)
    victim = open_source(path).samples[1].path
    record = next(cache_root().rglob("record.json"))
    damages: dict[str, Callable[[], object]] = {
        "file lost": victim.unlink,
        "file cut": lambda: victim.write_bytes(b""),
        "record lost": record.unlink,
        "record damaged": lambda: record.write_text("[]"),
    }
    damages[damage]()
    assert [sample.path.read_bytes() for sample in open_source(path).samples] == list(FLAT.values())


def test_a_killed_unpacking_leaves_nothing_that_counts(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", FLAT)
    script = f"""
import os
from finetune_advisor.images.sources import open_source
from finetune_advisor.images.sources import archive
archive.extract = lambda path, folder: os._exit(9)
open_source({str(path)!r})
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    parts = list(cache_root().rglob("*.part"))
    assert len(parts) == 1, "killed in the middle"
    os.utime(parts[0], (0, 0))
    assert len(open_source(path).samples) == 4
    assert not list(cache_root().rglob("*.part")), "what was left long ago is removed"


def test_of_two_processes_that_race_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "x.zip", FLAT)

    def overtaken(path: Path, folder: Path) -> None:
        monkeypatch.setattr(archive, "extract", extract)
        open_source(path)
        extract(path, folder)

    monkeypatch.setattr(archive, "extract", overtaken)
    assert len(open_source(path).samples) == 4
    assert not list(cache_root().rglob("*.part"))


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "x.zip", FLAT)

    def still_copied(path: Path, folder: Path) -> None:
        extract(path, folder)
        with path.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(archive, "extract", still_copied)
    assert "changed while it was being read" in error_of(path)
    assert not left_in_cache()


def test_a_full_disk_is_named_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive, "extract", full)
    assert "the disk is full" in error_of(packed(tmp_path / "x.zip", FLAT), StorageError)
    assert not left_in_cache()


def test_what_is_unpacked_is_read_from_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "x.zip", FLAT)
    first = open_source(path)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("written"))
    assert open_source(path) == first


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "XDG_CACHE_HOME" in error_of(packed(tmp_path / "x.zip", FLAT), StorageError)


@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil.jpg", "has a path that leads out of the archive"),
        ("a/../../evil.jpg", "has a path that leads out of the archive"),
        ("..\\evil.jpg", "has a path that leads out of the archive"),
        ("/evil.jpg", "has an absolute path"),
        ("\\evil.jpg", "has an absolute path"),
        ("C:\\evil.jpg", "has an absolute path"),
        ("c:evil.jpg", "has an absolute path"),
    ],
)
def test_members_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str, says: str) -> None:
    message = error_of(packed(tmp_path / kind, {**FLAT, name: b"evil"}))
    assert f"{name!r} in it {says}" in message
    assert not left_in_cache()
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (member("a/out.jpg", tarfile.SYMTYPE, "../../x"), "'a/out.jpg' in it is a link"),
        (member("a/out.jpg", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (member("out.jpg", tarfile.LNKTYPE, "a/1.jpg"), "is a link"),
        (member("a/dev.jpg", tarfile.CHRTYPE), "is a link, a device or a pipe"),
        (member("a/dev.jpg", tarfile.BLKTYPE), "a device or a pipe"),
        (member("a/pipe.jpg", tarfile.FIFOTYPE), "a device or a pipe"),
        (member("a/1.jpg"), "'a/1.jpg' in it stands there twice"),
        (member("a/1.jpg/b.jpg"), "is a file and a folder"),
    ],
)
def test_links_devices_and_repeats_are_refused(tmp_path: Path, found: tarfile.TarInfo, says: str) -> None:
    assert says in error_of(tar_of(tmp_path / "x.tar", found))
    assert not left_in_cache()


def test_links_and_devices_in_a_zip(tmp_path: Path) -> None:
    for mode, target, says in ((stat.S_IFLNK, "../../x", "is a link"), (stat.S_IFCHR, "", "a device")):
        path = packed(tmp_path / "x.zip", FLAT)
        with zipfile.ZipFile(path, "a") as file:
            info = zipfile.ZipInfo("ants/3.jpg")
            info.external_attr = (mode | 0o777) << 16
            file.writestr(info, target)
        assert says in error_of(path)


@pytest.mark.parametrize("kind", ["x.zip", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_bombs_are_refused_before_they_fill_the_disk(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "ALWAYS_ALLOWED", 2**20)
    path = packed(tmp_path / kind, {**FLAT, "ants/bomb.jpg": bytes(8 * 2**20)})
    assert "perhaps a bomb" in error_of(path)
    assert not left_in_cache()


def test_a_zip_that_hides_its_size_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "ALWAYS_ALLOWED", 2**20)
    path = packed(tmp_path / "x.zip", {"ants/bomb.jpg": bytes(8 * 2**20)})
    lied = path.read_bytes().replace((8 * 2**20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    path.write_bytes(lied)
    assert "is damaged" in error_of(path)
    assert not left_in_cache()


def test_a_sparse_file_in_a_tar_counts_by_what_it_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "ALWAYS_ALLOWED", 2**20)
    path = tmp_path / "x.tar"
    sparse = tarfile.TarInfo("a/1.jpg")
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398], header[398:410] = b"00000000000\0", b"00000000000\0"
    header[483:495] = b"%011o\0" % (512 * 2**20)
    header[148:156] = b" " * 8  # the sum of all bytes, in which its own place counts as blanks
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(1024))
    assert "perhaps a bomb" in error_of(path)


def test_a_huge_header_in_a_tar_is_not_read_into_memory(tmp_path: Path) -> None:
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 4 * 2**20
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(long, io.BytesIO(bytes(long.size)))
    assert "a header of 4,194,304 bytes" in error_of(path)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MOST_MEMBERS", 3)
    for kind in ("x.zip", "x.tar"):
        assert "is beyond the 3 files" in error_of(packed(tmp_path / kind, FLAT))


def test_more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "KEPT_FREE", 2**60)
    assert "does not fit on the disk" in error_of(packed(tmp_path / "x.zip", FLAT), StorageError)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", FLAT)
    raw = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(signature)
        raw[at + place] |= 1
    path.write_bytes(raw)
    assert "is encrypted ('ants/1.jpg' and perhaps others)" in error_of(path)


@pytest.mark.parametrize("name", KINDS)
def test_cut_empty_and_wrong_archives(tmp_path: Path, name: str) -> None:
    content = {key: random.Random(key).randbytes(3000) for key in FLAT}
    whole = packed(tmp_path / name, content).read_bytes()
    after_two_members = 2 * (512 + 3072)  # of a tar
    for cut in (10, len(whole) // 3, len(whole) // 2, after_two_members, after_two_members + 100):
        (tmp_path / name).write_bytes(whole[:cut])
        assert "is damaged" in error_of(tmp_path / name), cut
    (tmp_path / name).write_bytes(b"")
    assert str(tmp_path / name) in error_of(tmp_path / name)
    (tmp_path / name).write_bytes(b"this is a text" * 100)
    assert "is damaged" in error_of(tmp_path / name)
    packed(tmp_path / name, {})
    assert "is empty" in error_of(tmp_path / name)
    assert not left_in_cache()


@pytest.mark.parametrize("name", KINDS[:-1])
def test_no_damage_ends_in_a_traceback(tmp_path: Path, name: str) -> None:
    content = {key: random.Random(key).randbytes(300) for key in FLAT}
    whole = packed(tmp_path / name, content).read_bytes()
    rng = random.Random(0)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(rng.choice([1, 3, 30])):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        (tmp_path / name).write_bytes(broken)
        try:
            open_source(tmp_path / name)
        except FinetuneAdvisorError as error:
            assert error.message


def test_an_archive_without_images_is_told_by_its_own_name(tmp_path: Path) -> None:
    message = error_of(packed(tmp_path / "x.zip", {"1.jpg": b"", "2.jpg": b""}))
    assert f"{tmp_path / 'x.zip'} holds 2 images (such as 1.jpg) but no class folders" in message


@pytest.mark.parametrize(
    ("made", "called"),
    [("x.tar.gz", "y.tar"), ("x.tar.xz", "y.tar.gz"), ("x.tar", "y.tgz"), ("x.zip", "y.tar"), ("x.tar.bz2", "y.zip")],
)
def test_an_archive_is_known_by_its_content_not_by_its_name(tmp_path: Path, made: str, called: str) -> None:
    path = packed(tmp_path / made, {f"{name}/{number}.jpg": b"x" for name in "ab" for number in range(2)})
    listing = open_source(path.rename(tmp_path / called))
    assert (listing.classes, len(listing.samples)) == (("a", "b"), 4)


def test_what_cannot_be_unpacked_here_is_named_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"\x28\xb5\x2f\xfd and more")
    assert "is packed with Zstandard, whatever its name says" in error_of(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", ["x.zip", "x.tar.gz"])
def test_splits_of_other_names_in_an_archive(tmp_path: Path, kind: str) -> None:
    names = [f"archive/{split}/{name}/1.jpg" for split in ("seg_train/seg_train", "seg_test/seg_test") for name in "ab"]
    listing = open_source(packed(tmp_path / kind, {**dict.fromkeys(names, b"x"), "archive/seg_pred/1.jpg": b"x"}))
    assert listing.classes == ("a", "b")
    assert (len(listing.part("train")), len(listing.part("test"))) == (2, 2)
    assert "seg_pred/ beside the splits holds 1 image without labels" in listing.notes[0]


def test_a_manifest_with_other_usual_names_in_an_archive(tmp_path: Path) -> None:
    table = b"filename,class\nimages/1.jpg,cat\nimages/2.jpg,dog\n"
    images = {f"images/{number}.jpg": b"x" for number in (1, 2)}
    assert open_source(packed(tmp_path / "x.zip", {**images, "labels.csv": table})).classes == ("cat", "dog")
    folders = {"cat/1.jpg": b"x", "dog/1.jpg": b"x", "info.csv": b"file,class\nelsewhere.jpg,cat\n"}
    assert len(open_source(packed(tmp_path / "y.zip", folders)).samples) == 2, "a table of other files is no manifest"


def test_columns_that_a_person_names_in_another_case_lead_into_an_archive(tmp_path: Path) -> None:
    table = b"where,what\nimages/1.jpg,cat\nimages/2.jpg,dog\n"
    images = {f"images/{number}.jpg": b"x" for number in (1, 2)}
    whole = packed(tmp_path / "x.zip", {**images, "labels.csv": table})
    assert open_source(whole, path_column="Where", label_column="What").classes == ("cat", "dog")
    packed(tmp_path / "y.zip", images)
    (tmp_path / "labels.csv").write_text("where,what\ny.zip/images/1.jpg,cat\ny.zip/images/2.jpg,dog\n")
    listing = open_source(tmp_path / "labels.csv", path_column="Where", label_column="What")
    assert all(sample.path.is_file() for sample in listing.samples)
