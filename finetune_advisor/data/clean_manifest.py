"""A manifest of the images that are left when what the health checks found is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from finetune_advisor.artifacts.facts import legible
from finetune_advisor.artifacts.health import Health
from finetune_advisor.data.manifest_text import manifest_text
from finetune_advisor.data.sources import Listing, Sample


def clean_manifest(listing: Listing, health: Health, *, relative_to: Path) -> str:
    """CSV text `path,label,split[,group]` of the images to keep, in the listing's order.

    Left out are unreadable files, label suspects, and copies, exact and near: of each group of copies one image stays,
    none where their labels contradict each other. The test split stays as it is, but for unreadable files: a copy of a
    test image leaves training and validation instead, and one of a validation image leaves training.

    Args:
        listing: as the person gave it, that is with the person's own splits only.
        health: what was found in it.
        relative_to: the folder the manifest will lie in; paths are relative to it where a relative path exists.
    """
    by_name = {legible(sample.name): sample for sample in listing.samples}
    dropped = {bad.path for bad in health.bad_files}
    dropped |= {
        suspect.path
        for suspect in health.label_suspects
        if suspect.path in by_name and by_name[suspect.path].split != "test"
    }
    for group in _joined([*health.exact_duplicates, *(near.images for near in health.near_duplicates)]):
        members = [name for name in group if name in by_name]
        dropped |= _surplus(members, by_name, dropped)
    kept = [sample for name, sample in by_name.items() if name not in dropped]
    return manifest_text(kept, listing.classes, relative_to=relative_to)


def _surplus(members: Sequence[str], by_name: Mapping[str, Sample], dropped: set[str]) -> set[str]:
    """Those copies of one picture that are to be left out."""
    trainable = [name for name in members if by_name[name].split != "test"]
    contradict = len({by_name[name].label for name in members}) > 1
    if contradict or len(trainable) < len(members):
        return set(trainable)
    # A validation copy stays before one of training; a label suspect stays for none.
    left = [name for name in trainable if name not in dropped]
    stays = min(left, key=lambda name: by_name[name].split != "val", default=None)
    return {name for name in trainable if name != stays}


def _joined(groups: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Groups with common members made one, in the order of their first members."""
    joined: list[dict[str, None]] = []
    place_of: dict[str, int] = {}
    for group in groups:
        places = sorted({place_of[name] for name in group if name in place_of})
        target = places[0] if places else len(joined)
        if not places:
            joined.append({})
        for place in places[1:]:
            joined[target] |= joined[place]
            joined[place] = {}
        joined[target] |= dict.fromkeys(group)
        place_of.update(dict.fromkeys(joined[target], target))
    return [tuple(group) for group in joined if group]
