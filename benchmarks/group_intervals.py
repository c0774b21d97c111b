"""Do 95 % intervals of an accuracy hold the truth when test images come in groups?

    .venv/bin/python benchmarks/group_intervals.py --out benchmarks/results

Test sets are simulated: groups of 1 to 20 images, whose share of right answers is drawn from a beta distribution. Its
intraclass correlation says how much images of a group are right or wrong together: 0 not at all, 1 always. The interval
of `metrics.accuracy_interval` stands beside Wilson's for as many independent images and the percentile bootstrap over
groups; the lead of one classifier over another is that of `metrics.paired_bootstrap`. No image is read.
Writes group_intervals.json and group_intervals.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import publish

from finetune_advisor.metrics import accuracy_interval, paired_bootstrap, wilson_interval

GROUPS = (10, 20, 50, 100, 200)
ACCURACIES = (0.7, 0.9, 0.97)
CORRELATIONS = (0.0, 0.1, 0.3, 0.6, 0.9)
LARGEST = 20
DRAWS = 1000
FAR_LESS = 90.0
"""Coverage of Wilson's interval, in percent, below which a cell is one where groups matter."""

METHODS = ("wilson", "bootstrap", "ours")
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def shares(accuracy: float, correlation: float, groups: int, rng: np.random.Generator) -> FloatArray:
    """The share of right answers of each group (G,)."""
    if correlation == 0:
        return np.full(groups, accuracy)
    spread = (1 - correlation) / correlation
    return rng.beta(accuracy * spread, (1 - accuracy) * spread, groups)


def covered(groups: int, accuracy: float, correlation: float, *, sets: int, seed: int) -> dict[str, object]:
    """Coverage in percent and mean width of each method over so many simulated test sets."""
    rng = np.random.default_rng(seed)
    drawn_DG = rng.multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)
    ends: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
    images = []
    for _ in range(sets):
        size_G = rng.integers(1, LARGEST + 1, groups)
        hits_G = rng.binomial(size_G, shares(accuracy, correlation, groups, rng))
        group_N = np.repeat(np.arange(groups), size_G)
        first_N = np.repeat(np.cumsum(size_G) - size_G, size_G)
        hit_N = np.arange(len(group_N)) - first_N < hits_G[group_N]
        ends["wilson"].append(wilson_interval(int(hits_G.sum()), len(hit_N)))
        low, high = np.quantile((drawn_DG @ hits_G) / (drawn_DG @ size_G), [0.025, 0.975])
        ends["bootstrap"].append((float(low), float(high)))
        ends["ours"].append(accuracy_interval(hit_N, group_N))
        images.append(len(hit_N))
    row: dict[str, object] = {
        "groups": groups,
        "images": float(np.mean(images)),
        "accuracy": accuracy,
        "correlation": correlation,
    }
    for method, found in ends.items():
        low_S, high_S = np.array(found).T
        inside_S = (low_S <= accuracy + 1e-12) & (accuracy <= high_S + 1e-12)
        row |= {method: float(100 * inside_S.mean()), f"{method}_width": float((high_S - low_S).mean())}
    return row


def lead_covered(groups: int, correlation: float, *, sets: int, seed: int) -> dict[str, float]:
    """The same for the lead of a classifier of 0.9 over one of 0.8, whose groups are drawn independently."""
    rng = np.random.default_rng(seed)
    inside = {"single": 0, "ours": 0}
    for _ in range(sets):
        size_G = rng.integers(1, LARGEST + 1, groups)
        group_N = np.repeat(np.arange(groups), size_G)
        a_N, b_N = (rng.random(len(group_N)) < shares(p, correlation, groups, rng)[group_N] for p in (0.9, 0.8))
        for method, given_N in (("single", None), ("ours", group_N)):
            _, low, high = paired_bootstrap(a_N, b_N, given_N)
            inside[method] += low - 1e-12 <= 0.1 <= high + 1e-12
    coverage = {method: 100 * count / sets for method, count in inside.items()}
    return {"groups": groups, "correlation": correlation, **coverage}


def page(rows: list[dict[str, object]], leads: list[dict[str, float]], sets: int, lead_sets: int) -> str:
    return "\n".join([*_summary(rows), "", *_table(rows), "", *_lead_table(leads, sets, lead_sets)])


def _summary(rows: list[dict[str, object]]) -> Iterator[str]:
    yield "# Coverage of 95 % intervals when test images come in groups\n"
    matter = [row for row in rows if float(str(row["wilson"])) < FAR_LESS]
    for method, name in (("wilson", "Wilson's interval"), ("bootstrap", "Percentile bootstrap"), ("ours", "Ours")):
        values = np.array([float(str(row[method])) for row in matter])
        good = int(((values >= 93) & (values <= 97)).sum())
        yield (
            f"- {name}: {values.min():.1f} to {values.max():.1f} %; 93 to 97 % in {good} of the {len(values)} cells "
            f"where groups matter, below 93 % in {int((values < 93).sum())}, above 97 % in {int((values > 97).sum())}."
        )
    yield f"\nGroups matter where Wilson's interval covers less than {FAR_LESS:.0f} %."


def _table(rows: list[dict[str, object]]) -> Iterator[str]:
    yield (
        "| groups | images | accuracy | intraclass correlation | Wilson | percentile bootstrap | ours "
        "| width of Wilson's | width of ours |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        yield (
            f"| {row['groups']} | {row['images']:.0f} | {row['accuracy']} | {row['correlation']} | "
            f"{row['wilson']:.1f} % | {row['bootstrap']:.1f} % | {row['ours']:.1f} % | "
            f"{row['wilson_width']:.3f} | {row['ours_width']:.3f} |"
        )


def _lead_table(leads: list[dict[str, float]], sets: int, lead_sets: int) -> Iterator[str]:
    yield "The lead of a classifier of 0.9 over one of 0.8, on the same images:\n"
    yield "| groups | intraclass correlation | bootstrap of images | bootstrap of groups (ours) |"
    yield "|---:|---:|---:|---:|"
    for row in leads:
        yield f"| {row['groups']} | {row['correlation']} | {row['single']:.1f} % | {row['ours']:.1f} % |"
    error, lead_error = (100 * float(np.sqrt(0.95 * 0.05 / count)) for count in (sets, lead_sets))
    yield (
        f"\n{sets:,} simulated test sets for each row, {lead_sets:,} for the lead: a coverage of 95 % is known to "
        f"about {error:.1f} and {lead_error:.1f} points (one standard error)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000, help="simulated test sets for each row (default 2000)")
    parser.add_argument("--lead-sets", type=int, default=500, help="the same for leads (default 500)")
    parser.add_argument("--out", type=Path, help="folder for group_intervals.json and group_intervals.md")
    options = parser.parse_args()
    cells = [(g, p, rho) for g in GROUPS for p in ACCURACIES for rho in CORRELATIONS]
    rows = [covered(*cell, sets=options.sets, seed=seed) for seed, cell in enumerate(cells)]
    pairs = [(g, rho) for g in GROUPS[:-1] for rho in CORRELATIONS[1:4]]
    leads = [lead_covered(*pair, sets=options.lead_sets, seed=seed) for seed, pair in enumerate(pairs)]
    text = page(rows, leads, options.sets, options.lead_sets)
    print(text)
    if options.out:
        publish(options.out, "group_intervals", {"rows": rows, "leads": leads}, text)


if __name__ == "__main__":
    main()
