"""Cost of the ledger: writing a trial, reading a study's history, compacting it.

    python benchmarks/ledger.py [--trials 10000] [--epochs 9] [--folder DIR]

Writes that many synthetic trials, one intent and one ended trial each, as a study does; then reads them
back as fragments and compacted.  Goals at 10,000 trials on 2 cores: a compacted ledger opens and reads in
under 3 s, and writing costs no more a trial at the end than at the beginning.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from wst.ledger import Ledger, history
from wst.ledger import writing as ledgers
from wst.records import Epoch, Intent, Outcome
from wst.study import Study

CODE = {"version": "0", "commit": None, "libraries": "{}"}
TASKS = ["dtd", "svhn", "pets", "dmlab", "kitti"]
_Result = TypeVar("_Result")


def study(trials: int) -> Study:
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
            "search": {"trials": max(1, trials // (2 * len(TASKS)))},
        }
    )


def trial(task: str, variant: str, number: int, order: int, epochs: int) -> tuple[Intent, Outcome]:
    now = datetime.now(UTC)
    settings = {"lr": 1e-3 + 1e-7 * order, "scale": 0.1, "drop_path": 0.1, "r": 2}
    curve = tuple(Epoch(e, 1e-3, 1 / e, 0.5, 0.005 * (order % 200), 1.0) for e in range(1, epochs + 1))
    outcome = Outcome(
        "completed",
        curve,
        trainable_parameters=80_000,
        head_parameters=7_000,
        total_parameters=86_000_000,
        train_seconds=50.0,
        wall_seconds=55.0,
        peak_memory=2**31,
        device="some GPU",
        node="node",
        checkpoint_hash="c" * 64,
        data_hash="d" * 64,
        started=now,
        ended=now,
    )
    identity = f"{task}.{variant}.search.{number:04d}"
    return Intent(identity, task, variant, "search", number, order, 0, settings, time=now), outcome


def timed(what: str, call: Callable[[], _Result]) -> _Result:
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    print(
        f"{what:45}{time.perf_counter() - wall:9.2f} s{time.process_time() - cpu:9.2f} s of CPU", flush=True
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    made = study(asked.trials)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary) / "large"
        most, ledgers.COMPACT_ABOVE = ledgers.COMPACT_ABOVE, 10**9
        seconds = []
        with Ledger(folder, made, CODE) as ledger:
            assert made.search is not None and made.search.trials is not None
            for number in range(made.search.trials):
                for task, variant in made.cells:
                    intent, outcome = trial(task, variant, number, len(seconds), asked.epochs)
                    begun = time.perf_counter()
                    ledger.add_intent(intent)
                    ledger.add_trial(intent, outcome)
                    seconds.append(time.perf_counter() - begun)
        for name, part in (("first", seconds[:1000]), ("last", seconds[-1000:])):
            print(f"writing a trial, {name} {len(part)}: median {1e3 * statistics.median(part):.1f} ms")
        before = timed("history, a file a trial and table", lambda: history(folder))
        ledgers.COMPACT_ABOVE = most
        ledger = timed("open, which compacts", lambda: Ledger(folder, made, CODE))
        ledger.close()
        ledger = timed("open", lambda: Ledger(folder, made, CODE))
        assert timed("history, compacted", lambda: history(folder)) == before
        some = [t.intent.trial_id for t in before[1][: len(before[1]) // 100]]
        timed(f"discard {len(some)} trials", lambda: ledger.discard(some))
        ledger.close()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
