"""Whether a study of 19 tasks keeps its slots busy, told from its ledger alone.

    python -m benchmarks.slots [--slots 8] [--trials 3]
    python -m benchmarks.slots --ledger DIR     the same figures of a study that has run

The study has VTAB-1K's 19 tasks and the stages search (with successive halving), confirm and final.  It goes
through the real planner, driver, engine and ledger; only the training is a sleep, so that more slots than
cores can be shown.  A slot is idle while no trial of the ledger lies on it.  Counted are all slots from the
first trial's start until fewer trials than slots remain.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.jobs import SLEEP_S, SleepingJob
from benchmarks.pages import Page, table
from benchmarks.synthetic import CODE, environment
from wst.data.suites import find_suite
from wst.engine import ray_tune
from wst.engine.driver import Driver
from wst.ledger import Ledger, read_table
from wst.planning.planner import Planner
from wst.study import Study


@dataclass(frozen=True)
class Use:
    """How a study used its slots.

    Attributes:
        slots: most trials that ran at a time.
        processes: worker processes in all; more than slots where workers were replaced.
        trials: trials that ran.
        window_s: seconds from the first start until fewer trials than slots remained.
        idle: share of the slots' seconds in that window on which no trial lay.
        starting: the part of that share before the slots' first trials, while workers start.
        gaps_s: seconds between a trial's end and the next one's start on the same slot, ascending.
    """

    slots: int
    processes: int
    trials: int
    window_s: float
    idle: float
    starting: float
    gaps_s: np.ndarray


def use_of_slots(folder: Path) -> Use:
    """Of a study's ledger, from its columns ``slot``, ``started`` and ``ended``."""
    rows = read_table(folder, "trials", ["slot", "started", "ended", "attempts"]).to_pylist()
    # Trials that cost nothing, such as settings met again, were on no slot.
    ran = [row for row in rows if row["slot"] and row["attempts"]]
    first = min(row["started"] for row in ran)
    intervals = defaultdict(list)
    for row in ran:
        start, end = ((row[name] - first).total_seconds() for name in ("started", "ended"))
        intervals[row["slot"]].append((start, end))
    busy = {slot: _merged(found) for slot, found in intervals.items()}
    everything = [interval for found in intervals.values() for interval in found]
    slots = _most_at_a_time([interval for found in busy.values() for interval in found])
    window = sorted(end for _, end in everything)[len(everything) - slots]
    used = sum(max(0.0, min(end, window) - start) for found in busy.values() for start, end in found)
    gaps = [after[0] - before[1] for found in busy.values() for before, after in pairwise(found)]
    idle = 1 - used / (slots * window)
    starting = sum(min(window, found[0][0]) for found in busy.values()) / (slots * window)
    return Use(slots, len(busy), len(ran), window, idle, starting, np.sort(gaps))


def _merged(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Intervals of one slot in their order, overlapping ones as one: seeds of a final may share a job."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _most_at_a_time(intervals: list[tuple[float, float]]) -> int:
    changes = Counter[tuple[float, int]]()
    for start, end in intervals:
        changes[start, 1] += 1
        changes[end, -1] += 1
    running = most = 0
    for (_, step), number in sorted(changes.items()):  # at the same moment ends come first
        running += step * number
        most = max(most, running)
    return most


def study(slots: int, tasks: int, trials: int, epochs: int) -> Study:
    space = {"lr": {"type": "float", "low": 1e-4, "high": 1.0}}
    return Study.model_validate(
        {
            "name": "slots",
            "suite": "vtab1k",
            "tasks": [task.name for task in find_suite("vtab1k").tasks[:tasks]],
            "backbone": "micro",
            "variants": {"linear": {"method": "linear", "space": space}},
            "recipe": {"epochs": epochs, "warmup_epochs": 0},
            "search": {
                "trials": trials,
                "pruner": {"type": "successive_halving", "min_resource": 3, "reduction_factor": 3},
            },
            "confirm": {"top": 2, "seeds": 2},
            "final": {"seeds": 2},
            "resources": {"slots": slots},
        }
    )


def run(folder: Path, asked: Study) -> None:
    with Ledger(folder, asked, CODE) as ledger:
        where = environment(folder, asked)
        ray_tune.run(Driver(asked, Planner(asked), ledger, where), job=SleepingJob)


def use_table(use: Use) -> list[str]:
    row = [use.slots, use.trials, use.processes, f"{use.window_s:.0f}", f"{100 * use.idle:.1f} %"]
    row.append(f"{100 * use.starting:.1f} %")
    columns = ["slots", "trials", "worker processes", "seconds", "idle", "of it before a slot's first trial"]
    return table(columns, [row], text=0)


def gaps_table(use: Use) -> list[str]:
    quantiles = [f"{gap:.3f}" for gap in np.quantile(use.gaps_s, [0.5, 0.9, 0.99, 1])]
    columns = ["gaps", "median", "90 % below", "99 % below", "longest", "over 1 s"]
    return table(columns, [[len(use.gaps_s), *quantiles, (use.gaps_s > 1).sum()]], text=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=19)
    parser.add_argument("--trials", type=int, default=3, help="search trials a task")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--ledger", type=Path, help="output folder of a study that has run")
    quick = {"slots": 2, "tasks": 1, "trials": 2, "epochs": 2}
    page = Page("Idle slots", parser, quick, libraries=("ray",))
    options = page.options
    if options.ledger:
        use, what = use_of_slots(options.ledger), f"The study in {options.ledger}, from its ledger."
    else:
        with tempfile.TemporaryDirectory() as name:
            asked = study(options.slots, options.tasks, options.trials, options.epochs)
            run(Path(name) / "out", asked)
            use = use_of_slots(Path(name) / "out")
        what = (
            f"Tasks: {options.tasks}, with {options.trials} search trials each and successive halving, then "
            f"2 confirming trials of each of the best 2, and 2 final ones. An epoch is a sleep of "
            f"{0.8 * SLEEP_S:.1f} to {1.2 * SLEEP_S:.1f} s, a full trial {options.epochs} epochs."
        )
    page.finish(
        what,
        use_table(use),
        "Seconds between a trial's end and the next one's start on the same slot:",
        gaps_table(use),
        "Sleeping trials need no core, so that slots may be more than cores; starting their workers needs "
        "some, and where other programs keep the cores busy, gaps grow. Seconds and idle "
        "time count until fewer trials than slots remain, and hold the start of all workers but the first.",
    )


if __name__ == "__main__":
    main()
