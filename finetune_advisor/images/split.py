"""Which images train and which validate, and splits.csv, which says so of a run."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import Listing, Sample, Split
from finetune_advisor.images.sources.scan import natural
from finetune_advisor.storage.files import atomic_write
from finetune_advisor.text import counted, listed

_COLUMNS = ["path", "label", "split", "group"]
_WITHOUT_GROUPS = _COLUMNS[:3]
"""As a person writes such a table, and as runs did before relatives were noted."""
_SPLITS: Mapping[str, Split] = {"train": "train", "val": "val", "test": "test"}

SavedSplits = Mapping[str, tuple[str, Split]]
"""Class name and split of each image, by the image's name."""


def save_splits(listing: Listing, path: str | Path, *, family_N: npt.NDArray[np.integer] | None = None) -> None:
    """Write path, label, split and group of every sample as CSV, whole or not at all.

    Args:
        family_N: samples with the same number are relatives, copies or of one group, and get a group of that number;
            one that stands alone gets none. None: nobody has any.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    group_N = [""] * len(listing.samples) if family_N is None else _groups(family_N)
    for sample, group in zip(listing.samples, group_N, strict=True):
        assert sample.split is not None, f"{sample.name} is saved before it is split"
        rows.writerow([sample.name, listing.classes[sample.label], sample.split, group])
    atomic_write(path, text.getvalue().encode(errors="surrogateescape"))


def _groups(family_N: npt.NDArray[np.integer]) -> list[str]:
    """The name of each sample's family, empty for one that is its only member."""
    _, place_N, count_F = np.unique(family_N, return_inverse=True, return_counts=True)
    return [str(family) if count_F[place] > 1 else "" for family, place in zip(family_N, place_N, strict=True)]


def load_splits(path: str | Path) -> SavedSplits:
    """Read what `save_splits` wrote: image name -> (class name, split).

    Raises:
        DataError: the file is missing, cannot be read, or is not such a table.
    """
    return {name: (label, split) for name, (label, split, _) in _rows(path).items()}


def load_groups(path: str | Path) -> Mapping[str, str]:
    """Read what `save_splits` wrote: name of an image that has relatives -> its group.

    Raises:
        DataError: see `load_splits`.
    """
    return {name: group for name, (_, _, group) in _rows(path).items() if group}


def group_ids(names: Sequence[str], groups: Mapping[str, str]) -> npt.NDArray[np.intp]:
    """The number of the group of each image (N,); images that no group is noted for stand alone.

    Args:
        names: of the images.
        groups: what `load_groups` read.
    """
    number: dict[tuple[bool, str], int] = {}
    keys = [(True, groups[name]) if name in groups else (False, name) for name in names]
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.intp)


def _rows(path: str | Path) -> Mapping[str, tuple[str, Split, str]]:
    """Image name -> (class name, split, group)."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        hint = "It says which images did not train a run; without it the run is not whole."
        raise DataError(f"{path} cannot be read: {error.strerror}.", hint) from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    saved: dict[str, tuple[str, Split, str]] = {}
    try:
        header = next(rows, [])
        if header not in (_COLUMNS, _WITHOUT_GROUPS):
            raise _malformed(path, 1, f"the columns are {', '.join(header) or 'missing'}")
        for row in rows:
            if len(row) != len(header) or row[2] not in _SPLITS or row[0] in saved:
                raise _malformed(path, rows.line_num, f"found {','.join(row)!r}")
            saved[row[0]] = (row[1], _SPLITS[row[2]], row[3] if len(row) > len(_WITHOUT_GROUPS) else "")
    except csv.Error as error:
        raise _malformed(path, rows.line_num, str(error)) from error
    return saved


def apply_splits(listing: Listing, saved: SavedSplits) -> Listing:
    """Split a listing as it was saved; the images and their labels have to be the same as then.

    Raises:
        DataError: images vanished, are new, or changed their class; they are listed.
    """
    label_name = {sample.name: listing.classes[sample.label] for sample in listing.samples}
    problems = [
        *_problem("gone", (name for name in saved if name not in label_name)),
        *_problem("new", (name for name in label_name if name not in saved)),
        *_problem(
            "in another class",
            (
                f"{name} ({saved[name][0]} -> {label})"
                for name, label in label_name.items()
                if name in saved and saved[name][0] != label
            ),
        ),
    ]
    if problems:
        raise DataError(
            f"The images in {listing.source} changed since they were split: {'; '.join(problems)}.",
            "Restore them to continue, or start a new run.",
        )
    samples = tuple(replace(sample, split=saved[sample.name][1]) for sample in listing.samples)
    return replace(listing, samples=samples)


def _problem(what: str, names: Iterable[str]) -> list[str]:
    found = list(names)
    return [f"{counted(len(found), 'image')} {what}: {listed(found)}"] if found else []


def _malformed(path: str | Path, line: int, found: str) -> DataError:
    return DataError(
        f"{path}, line {line}: {found}.",
        f"Expected the columns {','.join(_COLUMNS)}, each path once, and as split train, val or test.",
    )


__all__ = [
    "SavedSplits",
    "apply_splits",
    "load_splits",
    "redrawn",
    "save_splits",
    "split",
    "stratified_folds",
    "torn_groups",
]

_PASSES = 5
"""Rounds in which groups move to another split; the counts rarely come nearer after the second."""

Ints = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class _Group:
    """Images that stay together: their names and how many there are of each label."""

    names: tuple[str, ...]
    counts: Mapping[int, int]


def split(listing: Listing, *, validation: float, seed: int, groups: Mapping[str, str] | None = None) -> Listing:
    """Give every sample a split: the user's own is kept, what is missing is drawn.

    With a validation split of the user's, nothing is drawn. Otherwise each class gives
    `round(validation * n)` of its n training images to validation, at least one, and keeps at least one; a
    class of one image keeps it. A test split is never drawn: where the user made none there is none.

    Images of a group go to the same side. A group is taken when it fits what its class still has to give;
    what is then missing by more than half a group is filled with the smallest group left. A class whose
    images are all in one group stays in training. The user's own split is kept even where it tears a group
    apart.

    An image's place in the draw is a hash of the seed and its name, so the result depends neither on the
    order of files nor on the test images, and adding images moves few others.

    Args:
        validation: share of the training images, 0 < validation < 1.
        seed: other seeds draw other images.
        groups: the group of each image to be drawn from, by name; None takes the samples' own groups.

    Raises:
        DataError: `validation` is out of range, or `groups` leaves out images.
    """
    if not 0 < validation < 1:
        raise DataError(f"data.validation is {validation}, expected a share between 0 and 1, such as 0.2.")
    pool = [sample for sample in listing.samples if sample.split in (None, "train")]
    if any(sample.split == "val" for sample in listing.samples):
        drawn: set[str] = set()
    else:
        drawn = _draw(_grouped(pool, _own_groups(pool) if groups is None else groups, seed), validation)
    in_pool = {sample.name for sample in pool}

    def settled(sample: Sample) -> Sample:
        if sample.name not in in_pool:
            return sample
        return replace(sample, split="val" if sample.name in drawn else "train")

    return replace(listing, samples=tuple(settled(sample) for sample in listing.samples))


def redrawn(listing: Listing, groups: Mapping[str, str], *, seed: int) -> Listing:
    """The user's own split with every group on one side; each class keeps about as many images on each side.

    Only groups that lie on several sides have to move: each, the largest first, to the one of its sides where its
    classes then miss least. Whatever is too much on one side and lacking on another is made up by further groups, in an
    order that is a hash of the seed and their names. A split that no group straddles stays as it is, and images without
    a split stay without.

    Args:
        listing: its samples have a split of the user's, or none of them.
        groups: the group of each image that belongs together with others, by name.
        seed: other seeds draw others.
    """
    split_of = {sample.name: sample.split for sample in listing.samples if sample.split is not None}
    if len(split_of) < len(listing.samples):
        return listing
    sides = sorted(set(split_of.values()), key=("train", "val", "test").index)
    members: defaultdict[tuple[bool, str], list[Sample]] = defaultdict(list)
    for sample in listing.samples:
        members[(True, groups[sample.name]) if sample.name in groups else (False, sample.name)].append(sample)
    units = sorted(members.values(), key=lambda unit: _place(seed, min(sample.name for sample in unit)))
    if all(len({split_of[sample.name] for sample in unit}) == 1 for unit in units):
        return listing
    count_USK = np.zeros((len(units), len(sides), len(listing.classes)), np.int32)
    for place, unit in enumerate(units):
        for sample in unit:
            count_USK[place, sides.index(split_of[sample.name]), sample.label] += 1
    side_U = _settled(count_USK)
    chosen = {sample.name: sides[side] for unit, side in zip(units, side_U, strict=True) for sample in unit}
    return replace(listing, samples=tuple(replace(one, split=chosen[one.name]) for one in listing.samples))


def _settled(count_USK: Ints) -> list[int]:
    """The side of each unit, given how many images of each class it has on each side now; see `redrawn`."""
    wanted_SK, whole_UK = count_USK.sum(axis=0), count_USK.sum(axis=1)
    on_US = count_USK.sum(axis=2) > 0
    side_U = on_US.argmax(axis=1).astype(np.int64)
    torn_U = on_US.sum(axis=1) > 1
    have_SK = np.zeros_like(wanted_SK)
    np.add.at(have_SK, side_U[~torn_U], whole_UK[~torn_U])

    def misfit(side: int, counts_K: Ints) -> float:
        """How far a side with these images is from what it should have; no class may vanish from any."""
        wanted_K = wanted_SK[side]
        gone = ((counts_K == 0) & (wanted_K > 0)).sum() * (100.0 if side == 0 else 10.0)
        return float(((counts_K - wanted_K) ** 2 / np.maximum(wanted_K, 1)).sum() + gone)

    def gain(place: int, side: int) -> float:
        """How much nearer the side comes with the unit."""
        return misfit(side, have_SK[side]) - misfit(side, have_SK[side] + whole_UK[place])

    found: list[int] = side_U.tolist()
    for place in sorted(np.flatnonzero(torn_U).tolist(), key=lambda place: -whole_UK[place].sum()):
        found[place] = max(np.flatnonzero(on_US[place]).tolist(), key=lambda side: gain(place, side))
        have_SK[found[place]] += whole_UK[place]
    for _ in range(_PASSES):
        before = list(found)
        for place, side in enumerate(before):
            have_SK[side] -= whole_UK[place]
            # Where nothing is gained a unit stays where it is.
            best = max(range(len(have_SK)), key=lambda other: (round(gain(place, other), 9), other == side))
            found[place] = best
            have_SK[best] += whole_UK[place]
        if found == before:
            break
    return found


def torn_groups(listing: Listing) -> dict[str, dict[Split, int]]:
    """Groups whose images a split puts on several sides: group -> images on each side, in natural order of groups.

    A split of the user's is kept even so; scores on images whose group was trained on are too good.
    """
    sides: defaultdict[str, Counter[Split]] = defaultdict(Counter)
    for sample in listing.samples:
        if sample.group is not None and sample.split is not None:
            sides[sample.group][sample.split] += 1
    return {group: dict(sides[group]) for group in sorted(sides, key=natural) if len(sides[group]) > 1}


def _own_groups(pool: Sequence[Sample]) -> dict[str, str] | None:
    """The group of each sample by name; one that has none is its own, which no group is called like."""
    if all(sample.group is None for sample in pool):
        return None
    return {sample.name: sample.name if sample.group is None else f"\0{sample.group}" for sample in pool}


def stratified_folds(labels_N: Ints, folds: int, *, seed: int, groups_N: Ints | None = None) -> Ints:
    """Deal images to folds so that classes and totals are balanced: the fold of each image, (N,).

    Without groups every class, and the whole, differs by at most one image between folds. Groups stay
    together: the largest are dealt first, each to the fold that has least of its classes. Classes with fewer
    images than folds are missing from some.

    Args:
        labels_N: class index of each image.
        folds: how many, at least 2 and at most N.
        seed: other seeds deal otherwise.
        groups_N: group index of each image, or None when every image stands alone.
    """
    assert 2 <= folds <= len(labels_N), (folds, len(labels_N))
    rng = np.random.default_rng(seed)
    if groups_N is not None:
        return _deal_groups(labels_N, groups_N, folds, rng)
    order_N = np.lexsort((rng.permutation(len(labels_N)), labels_N))
    fold_N = np.empty(len(labels_N), np.int64)
    fold_N[order_N] = np.arange(len(labels_N)) % folds
    return fold_N


def _deal_groups(labels_N: Ints, groups_N: Ints, folds: int, rng: np.random.Generator) -> Ints:
    _, labels_N = np.unique(labels_N, return_inverse=True)
    _, groups_N = np.unique(groups_N, return_inverse=True)
    counts_GC = np.zeros((groups_N.max() + 1, labels_N.max() + 1), np.int64)
    np.add.at(counts_GC, (groups_N, labels_N), 1)
    share_GC = counts_GC / counts_GC.sum(axis=0)
    order_G = np.lexsort((rng.permutation(len(counts_GC)), -counts_GC.sum(axis=1)))
    held_FC = np.zeros((folds, counts_GC.shape[1]))
    total_F = np.zeros(folds, np.int64)
    fold_G = np.empty(len(counts_GC), np.int64)
    for group in order_G:
        fold = np.lexsort((total_F, np.round(held_FC @ share_GC[group], 12)))[0]
        held_FC[fold] += share_GC[group]
        total_F[fold] += counts_GC[group].sum()
        fold_G[group] = fold
    return fold_G[groups_N]


def _grouped(pool: Sequence[Sample], groups: Mapping[str, str] | None, seed: int) -> list[_Group]:
    """The groups in the pool, in the order of the draw."""
    if groups is None:
        alone = [_Group((sample.name,), {sample.label: 1}) for sample in pool]
        return sorted(alone, key=lambda group: _place(seed, group.names[0]))
    missing = [sample.name for sample in pool if sample.name not in groups]
    if missing:
        raise DataError(
            f"No group is given for {counted(len(missing), 'image')}: {listed(missing)}.",
            "Expected a group for every image; give one that stands alone a group of its own.",
        )
    members: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in pool:
        members[groups[sample.name]].append(sample)
    return [
        _Group(tuple(sample.name for sample in members[key]), Counter(sample.label for sample in members[key]))
        for key in sorted(members, key=lambda key: _place(seed, key))
    ]


def _place(seed: int, name: str) -> tuple[bytes, str]:
    text = f"{seed}\0{name}".encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=8).digest(), name


def _draw(groups: Sequence[_Group], validation: float) -> set[str]:
    """Names of the images that validate. Classes in few groups choose first, having least choice."""
    total: Counter[int] = Counter()
    groups_of: defaultdict[int, list[_Group]] = defaultdict(list)
    for group in groups:
        total.update(group.counts)
        for label in group.counts:
            groups_of[label].append(group)
    given: Counter[int] = Counter()
    drawn: set[str] = set()

    def take(group: _Group) -> None:
        drawn.update(group.names)
        given.update(group.counts)

    def free(group: _Group) -> bool:
        leaves_some = all(given[label] + count < total[label] for label, count in group.counts.items())
        return group.names[0] not in drawn and leaves_some

    for label in sorted(groups_of, key=lambda label: (len(groups_of[label]), label)):
        target = min(max(1, round(validation * total[label])), total[label] - 1)
        for group in groups_of[label]:
            if given[label] + group.counts[label] <= target and free(group):
                take(group)
        missing = target - given[label]
        left = [group for group in groups_of[label] if free(group)]
        smallest = min(left, key=lambda group: group.counts[label], default=None)
        if smallest and missing > 0 and (not given[label] or smallest.counts[label] < 2 * missing):
            take(smallest)
    return drawn
