"""Cost of the ledger: writing a trial, reading a study's history, compacting it, a start on it.

    python -m benchmarks.ledger [--trials 10000] [--epochs 9] [--folder DIR]

Writes that many synthetic trials, one intent and one ended trial each, as a study does; then reads them
back as fragments and compacted, and has a planner replay them.  Beside the writing, in the same folder, as
many bare files of the same sizes are made durable in the same way.

Goals at 10,000 trials on 2 cores: a study's start on a compacted ledger takes under 10 s, and writing costs
no more a trial at the end than at the beginning.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.pages import Page, table
from benchmarks.synthetic import CODE, write_trials
from wst.ledger import Ledger, history
from wst.ledger import writing as ledgers
from wst.planning.planner import Planner
from wst.study import Study

TASKS = ["dtd", "svhn", "pets", "dmlab", "kitti"]
BARE = 300
"""Trials' worth of bare files."""
_Result = TypeVar("_Result")


def study(trials: int, epochs: int) -> Study:
    space: dict[str, Any] = {
        "scale": {"type": "categorical", "choices": [0.1, 1.0, 10.0]},
        "lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "drop_path": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
    }
    return Study.model_validate(
        {
            "name": "large",
            "suite": "vtab1k",
            "tasks": TASKS,
            "backbone": "vit_base_patch16_224",
            "variants": {v: {"method": "wst", "space": space, "fixed": {"r": 2}} for v in ("a", "b")},
            "recipe": {"epochs": epochs, "warmup_epochs": 0},
            "search": {
                "trials": -(-trials // (2 * len(TASKS))),
                "sampler": {"type": "random"},
                "pruner": {"type": "successive_halving", "min_resource": 1, "reduction_factor": 3},
            },
        }
    )


def write_bare(folder: Path, sizes: list[int], times: int) -> list[float]:
    """Seconds to make files of these sizes durable, each aside and then renamed, so many times."""
    folder.mkdir()
    seconds = []
    for number in range(times):
        begin = time.perf_counter()
        for table_number, size in enumerate(sizes):
            aside = folder / "aside"
            with aside.open("wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(folder / f"{number}-{table_number}")
        seconds.append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="keep the ledger in this new folder")
    page = Page("The ledger's cost", parser, {"trials": 50}, libraries=("pyarrow",))
    options = page.options
    made, rows = study(options.trials, options.epochs), []

    def timed(what: str, call: Callable[[], _Result]) -> _Result:
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rows.append([what, f"{wall:.2f}", f"{cpu:.2f}"])
        return result

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "large"
        most, ledgers.COMPACT_ABOVE = ledgers.COMPACT_ABOVE, 10**9
        with Ledger(folder, made, CODE) as ledger:
            half = options.trials // 2
            seconds = write_trials(ledger, options.trials)
        last = sorted((folder / "ledger").glob("*/*.parquet"), key=lambda path: path.stat().st_mtime_ns)[-3:]
        sizes = [path.stat().st_size for path in last]
        bare = median(write_bare(Path(temporary) / "bare", sizes, min(BARE, options.trials)))
        before = timed("history, a file a trial and table", lambda: history(folder))
        ledgers.COMPACT_ABOVE = 0
        timed("open, which compacts", lambda: Ledger(folder, made, CODE)).close()
        ledgers.COMPACT_ABOVE = most
        opened = timed("open, compacted", lambda: Ledger(folder, made, CODE))
        compacted = timed("history, compacted", lambda: history(folder))
        assert compacted == before
        planner = timed("replay in a planner", lambda: Planner(made, *compacted))
        assert sum(cell.count("search") for cell in planner.cells.values()) == options.trials
        some = [trial.intent.trial_id for trial in before[1][: max(1, len(before[1]) // 100)]]
        timed(f"discard {len(some)} trials", lambda: opened.discard(some))
        opened.close()
    writing = [(f"a trial, first {half}", seconds[:half]), (f"a trial, last {half}", seconds[-half:])]
    page.finish(
        f"{options.trials:,} trials of {options.epochs} epochs, of 5 tasks and 2 variants.",
        "## Writing",
        table(
            ["", "median, ms", "/ bare files"],
            [[what, f"{1e3 * median(part):.1f}", f"{median(part) / bare:.1f}"] for what, part in writing]
            + [["three bare files of the same sizes", f"{1e3 * bare:.1f}", "1"]],
        ),
        "A trial is an intent, its epochs and its row, each flushed to the disk and renamed into place; so "
        f"are the bare files, {', '.join(f'{size:,}' for size in sorted(sizes))} bytes of zeros, "
        "written after the trials. What flushing costs is the disk's; other programs that write to it count "
        "in both.",
        "## Reading",
        table(["", "wall, s", "CPU, s"], rows),
        "A study that goes on opens its ledger, reads the history and replays it. Fragments were written "
        "just before and lie in the page cache; after a restart of the machine their reading takes longer.",
    )


if __name__ == "__main__":
    main()
