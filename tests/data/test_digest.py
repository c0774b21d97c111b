import pytest

from finetune_advisor.data.digest import digest, digests
from finetune_advisor.errors import UnopenedFile


def test_equal_content_equal_text(tmp_path):
    for name, content in (("a", b"x" * 10**6), ("b", b"x" * 10**6), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    (first, second, third, missing), reasons = digests([tmp_path / name for name in "abcd"])
    assert first == second == digest(tmp_path / "a")
    assert first != third
    assert len(first) == 32
    assert missing is None
    assert reasons == {3: "the file is gone"}


def test_a_missing_file_has_a_reason(tmp_path):
    with pytest.raises(UnopenedFile, match="the file is gone"):
        digest(tmp_path / "x")
