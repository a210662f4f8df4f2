"""Whether a study of 19 tasks keeps its slots busy, told from its ledger alone.

    python benchmarks/slots.py [--slots 8] [--out benchmarks/results/slots.md]
    python benchmarks/slots.py --ledger DIR     the same figures of a study that has run

The study has VTAB-1K's 19 tasks and the stages search (with successive halving), confirm and final.  It goes
through the real planner, driver, engine and ledger; only the training is a sleep, so that more slots than
cores can be shown.  A slot is idle while no trial of the ledger lies on it.  Counted are all slots from the
first trial's start until fewer trials than slots remain.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune

from wst.engine import ray_tune as engine
from wst.engine.driver import Driver, Environment
from wst.ledger import Ledger, read_table
from wst.planning.planner import Planner
from wst.records import Epoch, Outcome, Report, stable_seed
from wst.study import Study

EPOCHS, EPOCH_S = 9, 1.0


class SleepingJob(tune.Trainable):  # type: ignore[misc]
    """A trial whose epochs are sleeps; slot and times are noted as a real trial notes them."""

    def setup(self, config: dict[str, Any]) -> None:
        (self._spec,), self._reports = config["specs"], config["report_epochs"]
        self._begin, self._started = time.perf_counter(), datetime.now(UTC)
        self._left = iter(self._curve())

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def _curve(self) -> Iterator[Epoch]:
        lr, final = float(self._spec.intent.hyperparameters["lr"]), self._spec.intent.stage == "final"
        noise = stable_seed(self._spec.intent.trial_id) / 2**32
        for epoch in range(1, EPOCHS + 1):
            time.sleep(EPOCH_S * (0.8 + 0.4 * noise))  # tasks and methods differ
            value = None if final else 0.9 - abs(lr - 0.5) / 2 - 0.5**epoch + 0.05 * noise
            yield Epoch(epoch, lr, 1.0, None if final else 1.0, value, EPOCH_S)

    def step(self) -> dict[str, Any]:
        new = []
        for epoch in self._left:
            new.append(epoch)
            if epoch.epoch in self._reports:
                break
        last = new[-1].epoch == EPOCHS
        outcome = Outcome(
            "completed" if last else "pruned",
            wall_seconds=time.perf_counter() - self._begin,
            node=socket.gethostname(),
            slot=f"{socket.gethostname()}:{os.getpid()}",
            started=self._started,
            ended=datetime.now(UTC),
        )
        if self._spec.intent.stage == "final" and last:
            outcome = replace(outcome, test_top1=0.8, test_images=1000)
        return {"reports": (Report(self._spec.intent.trial_id, tuple(new), outcome, last),), "done": last}


@dataclass(frozen=True)
class Use:
    """How a study used its slots.

    Attributes:
        slots: most trials that ran at a time.
        processes: worker processes in all; more than slots where workers were replaced.
        trials: trials that ran.
        window_s: seconds from the first start until fewer trials than slots remained.
        idle: share of the slots' seconds in that window on which no trial lay.
        gaps_s: seconds between a trial's end and the next one's start on the same slot, ascending.
    """

    slots: int
    processes: int
    trials: int
    window_s: float
    idle: float
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
    return Use(slots, len(busy), len(ran), window, 1 - used / (slots * window), np.sort(gaps))


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


def study(slots: int, trials: int) -> Study:
    space = {"lr": {"type": "float", "low": 0.0, "high": 1.0}}
    return Study.model_validate(
        {
            "name": "slots",
            "suite": "vtab1k",
            "backbone": "micro",
            "variants": {"linear": {"method": "linear", "space": space}},
            "recipe": {"epochs": EPOCHS, "warmup_epochs": 0},
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
    with Ledger(folder, asked, {"version": "0", "commit": None, "libraries": "{}"}) as ledger:
        environment = Environment(folder, dict.fromkeys(asked.tasks, "0"))
        engine.run(Driver(asked, Planner(asked), ledger, environment), job=SleepingJob)


def table(use: Use) -> list[str]:
    lines = [
        f"| slots | trials | worker processes | seconds | idle until fewer than {use.slots} trials remain |",
        "| ---: | ---: | ---: | ---: | ---: |",
        f"| {use.slots} | {use.trials} | {use.processes} | {use.window_s:.0f} | {100 * use.idle:.1f} % |",
        "",
        "Seconds between a trial's end and the next one's start on the same slot:",
        "",
        "| gaps | median | 90 % below | 99 % below | longest | over 1 s |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    median, nine, ninety_nine = np.quantile(use.gaps_s, [0.5, 0.9, 0.99])
    lines.append(
        f"| {len(use.gaps_s)} | {median:.3f} | {nine:.3f} | {ninety_nine:.3f} | {use.gaps_s[-1]:.2f} "
        f"| {(use.gaps_s > 1).sum()} |"
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--trials", type=int, default=8, help="search trials a task")
    parser.add_argument("--ledger", type=Path, help="output folder of a study that has run")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.ledger:
        print("\n".join(table(use_of_slots(args.ledger))))
        return
    lines = [
        "# Idle slots",
        "",
        f"19 tasks, {args.trials} search trials each with successive halving, then 4 confirming and 2 final "
        f"ones. An epoch is a sleep of {0.8 * EPOCH_S:.1f} to {1.2 * EPOCH_S:.1f} s, a full trial "
        f"{EPOCHS} epochs. {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} before the run, "
        f"Python {platform.python_version()}, Ray {ray.__version__}.",
    ]
    for slots in args.slots:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder) / "out", study(slots, args.trials))
            lines += ["", *table(use_of_slots(Path(folder) / "out"))]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)


if __name__ == "__main__":
    main()
