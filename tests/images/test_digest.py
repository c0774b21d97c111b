from pathlib import Path

import pytest

from finetune_advisor.errors import UnopenedFile
from finetune_advisor.images.decode import Changes, changes, digest, digests, fingerprint


def test_equal_content_equal_text(tmp_path: Path) -> None:
    for name, content in (("a", b"x" * 10**6), ("b", b"x" * 10**6), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    (first, second, third, missing), reasons = digests([tmp_path / name for name in "abcd"])
    assert first == second == digest(tmp_path / "a")
    assert first != third
    assert len(first) == 32
    assert missing is None
    assert reasons == {3: "the file is gone"}


def test_a_missing_file_has_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UnopenedFile, match="the file is gone"):
        digest(tmp_path / "x")


def test_images_that_were_added_removed_or_changed_are_counted() -> None:
    before = [(f"{n}.jpg", "cat", f"{n:032x}") for n in range(6)]
    after = [*before[2:], ("new.jpg", "cat", "f" * 32)]
    after[0] = ("2.jpg", "cat", "e" * 32)
    after[1] = ("3.jpg", "dog", before[3][2])
    found = changes(fingerprint(before), fingerprint(after))
    assert found == Changes(added=1, removed=2, changed=2), "another label is a change too"
    assert str(found) == "1 added, 2 removed, 2 changed"
    assert not changes(fingerprint(before), fingerprint(reversed(before)))


def test_a_file_that_can_be_read_again_is_a_changed_image() -> None:
    assert changes(fingerprint([("a", "", None)]), fingerprint([("a", "cat", "0" * 32)])) == Changes(0, 0, 1)


@pytest.mark.parametrize("text", ["no base64!", "AAAA"])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        changes(text, fingerprint([]))
