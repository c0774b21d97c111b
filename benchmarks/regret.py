"""Is the advice right, and is it worth it? Every recipe on every task; one JSON line a run.

    python benchmarks/regret.py DATA_SET... --lines regret.jsonl --minutes 75 --seeds 2
    python benchmarks/regret.py DATA_SET... --lines regret.jsonl --page benchmarks/results

Each DATA_SET is a folder with `train/` and `test/` of class folders, and `groups.csv` if images have relatives. Runs
that the file already holds are not repeated, so a killed benchmark goes on; what tells most is run first, for all
tasks. --page makes regret.json and regret.md of the lines there are, and runs nothing. --large takes the sizes and
durations of real use, --gpu does so on a GPU.
Several processes share the work with --shard 0/2, --shard 1/2, and the same file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import COMMIT
from regret_lines import append_line, read_lines
from regret_recipes import ROUNDS, key_of
from regret_runs import Bench
from regret_tasks import GPU, LARGE, SMALL, Settings, Task, tasks_of, use_cache

from finetune_advisor.errors import FinetuneAdvisorError, Interrupted

IMPORTS = "import finetune_advisor.training.trainer, finetune_advisor.workflows.analyze"


def planned(tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
    """All runs in their order: a seed after the other, in each what tells most first, in turn over the tasks."""
    for seed in sorted({task.seed for task in tasks}):
        for names in ROUNDS:
            for task in tasks:
                if task.seed == seed:
                    yield from ((task, name) for name in names)


def startup() -> dict[str, float]:
    """What a fresh process takes to load what a run needs: runs here share one, and are charged for it on the page."""
    begin = time.perf_counter()
    code = f"import time; {IMPORTS}; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return {"seconds": round(time.perf_counter() - begin, 2), "cpu": float(done.stdout)}


def go(runs: Sequence[tuple[Task, str]], settings: Settings, lines: Path, *, minutes: float) -> None:
    """Make the runs that are missing until the time is over.

    What tasks need on the disk lies beside the lines until all is done, so that going on costs nothing twice.
    """
    done, end, began = {key_of(line) for line in read_lines(lines)}, time.monotonic() + 60 * minutes, startup()
    for task, recipe in runs:
        if (task.name, task.seed, recipe) in done:
            continue
        if time.monotonic() > end:
            print("the time is over; the same command goes on", flush=True)
            return
        folder = lines.with_suffix(".work") / f"{task.data}-{task.per_class}-{task.seed}"
        use_cache(folder / "cache")
        bench = Bench.of(task, settings, folder)
        try:
            line = bench.line(recipe)
        except Interrupted:
            raise
        except FinetuneAdvisorError as problem:
            line = {"task": task.name, "seed": task.seed, "recipe": recipe, "error": problem.message}
        append_line(lines, {**line, "startup": began, "commit": COMMIT})
        told = line.get("error") or line.get("cell") or f"{line['accuracy']:.3f}"
        now = time.strftime("%H:%M:%S")
        print(f"{now} {task.name} {task.seed} {recipe} {told} {line.get('seconds')} s", flush=True)
    print(f"all is done: {lines.with_suffix('.work')} can go", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=180.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--shard", default="0/1", help="I/N: the tasks of this process")
    parser.add_argument("--large", action="store_true", help="224 pixels, more images, the recipes' own durations")
    parser.add_argument("--gpu", action="store_true", help="the same, on a GPU")
    parser.add_argument("--tasks", nargs="+", help="these alone, as the lines call them")
    parser.add_argument("--recipes", nargs="+", help="these alone; `analyze` is one of them")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write regret.json and regret.md there")
    arguments = parser.parse_args()
    if arguments.page:
        from regret_page import publish_page

        publish_page(read_lines(arguments.lines), arguments.page)
        return
    settings = GPU if arguments.gpu else LARGE if arguments.large else SMALL
    tasks = [
        task
        for seed in range(arguments.seeds)
        for folder in arguments.data
        for task in tasks_of(folder, settings, seed=seed)
        if arguments.tasks is None or task.name in arguments.tasks
    ]
    shard, shards = map(int, arguments.shard.split("/"))
    names = sorted({task.name for task in tasks})
    mine = [task for task in tasks if names.index(task.name) % shards == shard]
    runs = [
        (task, recipe) for task, recipe in planned(mine) if arguments.recipes is None or recipe in arguments.recipes
    ]
    go(runs, settings, arguments.lines, minutes=arguments.minutes)


if __name__ == "__main__":
    main()
