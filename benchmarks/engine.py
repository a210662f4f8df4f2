"""What the engine itself costs: a trial, the driver's memory, the planner's time.

    python -m benchmarks.engine [--trials 1000] [--repeats 1]

*A trial.*  The trials do nothing but report, so all their time is overhead.  Ours is the real engine:
planner, Optuna, intents and rows written durably to a real ledger, Ray Tune with reused actors.  Beside it
the same number of trials and reports on plain Ray Tune with OptunaSearch and its default loggers, actors
reused as well.  Wall time runs from the first trial's end to the last's, divided by the trials between; so
does the driver's own CPU time, and from the 100th end on the growth of its resident memory.  Each of the two
has a process of its own.

*The planner.*  19 tasks x 5 variants with search, confirm and final, without Ray; process CPU time.

Goal: a trial of 9 reports costs at most 60 ms and 200 kB.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from benchmarks.curves import curve
from benchmarks.jobs import PlainJob, TrivialJob
from benchmarks.pages import Page, table
from wst.ledger import Ledger
from wst.planning.planner import Planner
from wst.records import Intent, Outcome
from wst.study import Study
from wst.trackers import Tracker, Trackers

SLOTS = 2
SPACE = {"lr": {"type": "float", "low": 1e-4, "high": 1.0}}
SETTLED = 100
"""Trials after which memory is expected to grow with the trials alone."""


@dataclass
class Ends:
    """Clocks and memory of this process at the end of each trial."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def note(self) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.memory.append(psutil.Process().memory_info().rss)

    def cost(self) -> tuple[float, float, float]:
        """(wall ms, CPU ms, kB) a trial; the memory is NaN where the trials were too few."""
        between, after = len(self.wall) - 1, len(self.memory) - SETTLED
        grown = (self.memory[-1] - self.memory[SETTLED]) / (after - 1) / 1000 if after > 100 else float("nan")
        wall, cpu = (1000 * (times[-1] - times[0]) / between for times in (self.wall, self.cpu))
        return wall, cpu, grown


class OurEnds(Tracker):
    """Notes the ends of our trials."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends

    def end(self, intent: Intent, outcome: Outcome) -> None:
        self._ends.note()


class PlainEnds(tune.Callback):  # type: ignore[misc]
    """Notes the ends of plain Ray Tune's trials."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._ends.note()


def ours(trials: int, reports: int) -> tuple[float, float, float]:
    # Here, since they load torch: the process of plain Ray Tune has no part in that.
    from benchmarks.synthetic import CODE, environment
    from wst.engine import ray_tune
    from wst.engine.driver import Driver

    study = Study.model_validate(
        {
            "name": "overhead",
            "suite": "mini",
            "tasks": ["digits"],
            "backbone": "micro",
            "variants": {"linear": {"method": "linear", "space": SPACE}},
            "recipe": {"epochs": reports, "warmup_epochs": 0},
            "search": {"trials": trials, "sampler": {"type": "random"}},
            "resources": {"slots": SLOTS},
            "report_every": 1,
        }
    )
    ends = Ends()
    with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "out", study, CODE) as ledger:
        where, trackers = environment(Path(name), study), Trackers([OurEnds(ends)])
        ray_tune.run(Driver(study, Planner(study), ledger, where, trackers), job=TrivialJob)
    assert len(ends.wall) == trials
    return ends.cost()


def plain(trials: int, reports: int) -> tuple[float, float, float]:
    ends = Ends()
    # The engine switches the loggers off for its own process; plain Ray Tune has them on.
    os.environ.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tune.Tuner(
                PlainJob,
                param_space={"lr": tune.uniform(0, 1), "reports": reports},
                tune_config=tune.TuneConfig(
                    metric="val_top1",
                    mode="max",
                    search_alg=ConcurrencyLimiter(OptunaSearch(), SLOTS),
                    num_samples=trials,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    callbacks=[PlainEnds(ends)],
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
    finally:
        ray.shutdown()
    assert len(ends.wall) == trials
    return ends.cost()


def planner_ms(at: list[int]) -> list[tuple[int, float, float, float]]:
    """(trials so far, ms of ask, of all reports, of tell): means over the trials since the entry before."""
    variants = {f"linear-{i}": {"method": "linear", "space": SPACE} for i in range(5)}
    study = Study.model_validate(
        {
            "name": "planner",
            "suite": "vtab1k",
            "backbone": "micro",
            "variants": variants,
            "recipe": {"epochs": 9, "warmup_epochs": 0},
            "search": {
                # Fewer than there is room for, so that the later stages come into it.
                "trials": max(1, at[-1] // (19 * len(variants)) - 8),
                "sampler": {"type": "random"},
                "pruner": {"type": "successive_halving", "min_resource": 1, "reduction_factor": 3},
            },
            "confirm": {"top": 5, "seeds": 3},
            "final": {"seeds": 3},
            "report_every": 1,
        }
    )
    planner, found, before = Planner(study), [], 0
    ask = report = tell = 0.0
    for done in range(1, at[-1] + 1):
        begin = time.process_time()
        intent = planner.ask()
        ask += time.process_time() - begin
        assert intent is not None
        told, stop = [], False
        for epoch in curve(intent, 9):
            told.append(epoch)
            begin = time.process_time()
            stop = planner.report(intent.trial_id, epoch)
            report += time.process_time() - begin
            if stop:
                break
        outcome = Outcome("pruned" if stop else "completed", epochs=tuple(told))
        begin = time.process_time()
        planner.tell(intent.trial_id, outcome)
        tell += time.process_time() - begin
        if done in at:
            found.append((done, *(1000 * seconds / (done - before) for seconds in (ask, report, tell))))
            before, ask, report, tell = done, 0.0, 0.0, 0.0
    return found


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """The result of a call in a fresh process, which ends without tidying up."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def trials_table(trials: int, reports: Sequence[int], repeats: int) -> list[str]:
    rows = []
    for each in reports:
        costs: dict[str, list[tuple[float, float, float]]] = {"wst": [], "plain Ray Tune": []}
        for _ in range(repeats):  # by turns, so that a busy spell hits both alike
            costs["wst"].append(alone(ours, trials, each))
            costs["plain Ray Tune"].append(alone(plain, trials, each))
        middle = {name: median(cost[0] for cost in found) for name, found in costs.items()}
        for name, found in costs.items():
            cells = [_spread(column) for column in zip(*found, strict=True)]
            rows.append([name, each, trials, *cells, f"{middle[name] / middle['wst']:.1f}"])
    columns = ["", "reports", "trials", "wall, ms a trial", "driver's CPU, ms a trial"]
    return table([*columns, "driver's memory, kB a trial", "wall / wst's"], rows)


def _spread(values: tuple[float, ...]) -> str:
    """The median, and the range where there are several; - where not known."""
    if any(map(math.isnan, values)):
        return "-"
    middle = f"{median(values):.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.0f} to {max(values):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--reports", type=int, nargs="+", default=[9], help="a trial")
    parser.add_argument("--repeats", type=int, default=1, help="of the comparison with plain Ray Tune")
    parser.add_argument("--planned", type=int, nargs="+", default=[100, 1000, 5000], help="trials so far")
    quick = {"trials": 6, "reports": [2], "repeats": 1, "planned": [20, 200]}
    page = Page("The engine's cost", parser, quick, libraries=("ray", "optuna"))
    options = page.options
    planned = planner_ms(sorted(options.planned))
    page.finish(
        "## A trivial trial",
        trials_table(options.trials, options.reports, options.repeats),
        f"{SLOTS} slots. The two run one after the other, "
        "each in a process of its own and Ray's in the same environment; plain Ray Tune has the loggers that "
        "it has by default, which the engine switches off, and writes no ledger. Runs of "
        f"each: {options.repeats}. Where other programs keep the cores busy, wall times tell the order of "
        "magnitude; the driver's CPU time and memory suffer less.",
        "## The planner's CPU time a trial",
        table(
            ["trials so far", "ask, ms", "reports, ms", "tell, ms"],
            [[done, *(f"{ms:.2f}" for ms in times)] for done, *times in planned],
            text=0,
        ),
        "19 tasks x 5 variants, search with successive halving, confirm and final, random suggestions; means "
        "over the trials since the row before.",
    )


if __name__ == "__main__":
    main()
