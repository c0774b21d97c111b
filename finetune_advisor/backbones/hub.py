"""timm's weights on the Hugging Face hub: the local cache first, the network only if it answers at once.

Asked naively, a hub that cannot be reached is waited for again and again. Here it is probed once per process,
for three seconds, and only when a file is not in the local cache.
"""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from finetune_advisor.errors import WeightsError

PROBE_SECONDS = 3.0

_CACHE_PREFIX = "models--timm--"
_DEFAULT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where timm keeps the weights of one network: the files are tried in order."""

    repository: str
    revision: str | None
    files: tuple[str, ...]
    license: str | None
    tag: str | None


def entry(name: str) -> Entry | None:
    """The hub entry of a network (with or without tag), None where timm has no weights of it there."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    repository, _, revision = config.hf_hub_id.partition("@")
    files = _alternatives(config.hf_hub_filename) if config.hf_hub_filename else _DEFAULT_FILES
    return Entry(repository, revision or None, files, license=config.license, tag=config.tag)


def license_of(name: str) -> str | None:
    """License timm states for the weights of a network, None where it states none."""
    found = entry(name)
    return found.license if found else None


def cached_names() -> tuple[str, ...]:
    """Names (with tag) of the timm networks whose weights are in the local hub cache."""
    from huggingface_hub import constants, try_to_load_from_cache

    folders = sorted(Path(constants.HF_HUB_CACHE).glob(f"{_CACHE_PREFIX}*"))
    names = [folder.name.removeprefix(_CACHE_PREFIX) for folder in folders]
    return tuple(
        name
        for name in names
        if any(isinstance(try_to_load_from_cache(f"timm/{name}", file), str) for file in _DEFAULT_FILES)
    )


def cached_file(entry: Entry) -> Path | None:
    """Path of the weights in the local hub cache, None where they are not there."""
    from huggingface_hub import try_to_load_from_cache

    for file in entry.files:
        path = try_to_load_from_cache(entry.repository, file, revision=entry.revision)
        if isinstance(path, str):
            return Path(path)
    return None


def why_unreachable() -> str | None:
    """Reason why the hub cannot be asked, None where it answers; honors HF_HUB_OFFLINE and HF_ENDPOINT."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return _probe(constants.ENDPOINT)


def download(entry: Entry) -> Path:
    """Download the weights into the local hub cache.

    Raises:
        WeightsError: the hub refuses or the transfer breaks.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    # Depending on its version, the hub client speaks through requests or httpx and lets their errors through.
    failures: tuple[type[BaseException], ...] = (OSError, *HfHubHTTPError.__bases__)
    for file in entry.files:
        try:
            return Path(hf_hub_download(entry.repository, file, revision=entry.revision))
        except LocalEntryNotFoundError as error:
            raise _failed(entry, error) from error
        except EntryNotFoundError:
            continue
        except failures as error:
            raise _failed(entry, error) from error
    raise WeightsError(f"{entry.repository} on the hub holds none of {', '.join(entry.files)}")


def _failed(entry: Entry, error: BaseException) -> WeightsError:
    reason = str(error).strip().partition("\n")[0]
    return WeightsError(f"cannot download {entry.repository} from the hub: {reason}", "Try again, or give a file.")


def _alternatives(file: str) -> tuple[str, ...]:
    """timm prefers a safetensors file of the same name where the hub has one."""
    return (f"{file.removesuffix('.bin')}.safetensors", file) if file.endswith(".bin") else (file,)


@lru_cache(maxsize=4)
def _probe(endpoint: str) -> str | None:
    answer: list[str | None] = []
    # A thread, because looking up a host name has no time limit of its own.
    thread = threading.Thread(target=lambda: answer.append(_ask(endpoint)), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answer[0] if answer else f"{endpoint} did not answer within {PROBE_SECONDS:.0f} s"


def _ask(endpoint: str) -> str | None:
    if not endpoint.startswith(("http://", "https://")):
        return f"HF_ENDPOINT is no web address: {endpoint}"
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the scheme is checked above
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None  # any answer, even a refusal, shows that the hub can be reached
    except OSError as error:
        # A certificate that this probe does not trust may be fine for the hub client with its own settings.
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return None if isinstance(reason, ssl.SSLError) else f"{endpoint} cannot be reached ({reason})"
