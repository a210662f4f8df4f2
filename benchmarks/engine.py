"""What the engine itself costs: a trial, the driver's memory, the planner's time, a start on a large ledger.

    python benchmarks/engine.py [--trials 1000] [--ledger-trials 10000] [--out benchmarks/results/engine.md]

*A trial.*  The trials do nothing but report, so all their time is overhead.  Ours is the real engine:
planner, Optuna, intents and rows written durably to a real ledger, Ray Tune with reused actors.  Beside it
the same number of trials and reports on plain Ray Tune with OptunaSearch and its default loggers, actors
reused as well.  Wall time runs from the first trial's end to the last's, divided by the trials between; so
does the driver's own CPU time, and from the 100th end on the growth of its resident memory.  Each of the two
has a process of its own.

*The planner.*  19 tasks x 5 variants with search, confirm and final, without Ray; process CPU time.

*A start.*  A ledger of many trials of 9 epochs is written trial by trial; then it is opened, read and
replayed, first with all its fragments, as after a kill, and again as one file a table.

Goals: a trial of 9 reports costs at most 60 ms and 200 kB; a start on 10,000 trials takes under 10 s.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
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

from wst.engine import ray_tune as engine
from wst.engine.driver import Driver, Environment
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import Epoch, Intent, Outcome, Report, stable_seed
from wst.study import Study

SLOTS = 2
CODE = {"version": "0", "commit": None, "libraries": "{}"}
SPACE = {"lr": {"type": "float", "low": 0.0, "high": 1.0}}
SETTLED = 100
"""Trials after which memory is expected to grow with the trials alone."""
START_EPOCHS = 9


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


class TrivialJob(tune.Trainable):  # type: ignore[misc]
    """Reports a curve that needs no computing."""

    def setup(self, config: dict[str, Any]) -> None:
        (self._spec,), self._reports = config["specs"], sorted(config["report_epochs"])
        self._lr, self._done = float(self._spec.intent.hyperparameters["lr"]), 0

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        self._done += 1
        epoch = self._reports[self._done - 1]
        value = 1 - abs(self._lr - 0.5) - 1 / (epoch + 10)
        last = self._done == len(self._reports)
        outcome = Outcome("completed" if last else "pruned")
        epochs = (Epoch(epoch, self._lr, 1.0, 1.0, value, 0.0),)
        return {"reports": (Report(self._spec.intent.trial_id, epochs, outcome, last),), "done": last}


class PlainJob(tune.Trainable):  # type: ignore[misc]
    """The same for plain Ray Tune."""

    def setup(self, config: dict[str, Any]) -> None:
        self._lr, self._reports, self._done = config["lr"], config["reports"], 0

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        self._done += 1
        value = 1 - abs(self._lr - 0.5) - 1 / (self._done + 10)
        return {"val_top1": value, "done": self._done >= self._reports}


class NoteEnds(tune.Callback):  # type: ignore[misc]
    """Notes the ends of plain Ray Tune's trials."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._ends.note()


def ours(trials: int, reports: int) -> tuple[float, float, float]:
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
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "out", study, CODE) as ledger:
        planner = Planner(study)
        environment = Environment(Path(folder), {"digits": "0"})

        def changed() -> None:
            if planner.cells["digits", "linear"].count("search") > len(ends.wall):
                ends.note()

        engine.run(Driver(study, planner, ledger, environment, changed), job=TrivialJob)
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
                    callbacks=[NoteEnds(ends)],
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
    finally:
        ray.shutdown()
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
                "trials": at[-1] // (19 * len(variants)) - 8,  # so that the later stages come into it
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
        told, state = [], "completed"
        for epoch in synthetic_curve(intent, 9):
            told.append(epoch)
            begin = time.process_time()
            stop = planner.report(intent.trial_id, epoch)
            report += time.process_time() - begin
            if stop:
                state = "pruned"
                break
        outcome = Outcome(state, epochs=tuple(told))  # type: ignore[arg-type]
        begin = time.process_time()
        planner.tell(intent.trial_id, outcome)
        tell += time.process_time() - begin
        if done in at:
            found.append((done, *(1000 * seconds / (done - before) for seconds in (ask, report, tell))))
            before, ask, report, tell = done, 0.0, 0.0, 0.0
    return found


def synthetic_curve(intent: Intent, epochs: int) -> list[Epoch]:
    lr, noise = float(intent.hyperparameters["lr"]), stable_seed(intent.trial_id) / 2**32
    values = [0.9 - abs(lr - 0.5) / 2 - 0.5**epoch / 2 + 0.05 * noise for epoch in range(1, epochs + 1)]
    return [Epoch(e, lr, 1.0, 1 - value, value, 1.0) for e, value in enumerate(values, start=1)]


def start_study(trials: int) -> Study:
    return Study.model_validate(
        {
            "name": "large",
            "suite": "vtab1k",
            "backbone": "micro",
            "variants": {"linear": {"method": "linear", "space": SPACE}},
            "recipe": {"epochs": START_EPOCHS, "warmup_epochs": 0},
            "search": {
                "trials": trials // 19 + 1,
                "pruner": {"type": "successive_halving", "min_resource": 1, "reduction_factor": 3},
            },
        }
    )


def write_ledger(folder: Path, trials: int) -> float:
    """Write a ledger of so many ended trials, all of all epochs, and end as a kill does; ms a trial."""
    study = start_study(trials)
    ledger = Ledger(folder, study, CODE)
    begin = time.perf_counter()
    for order in range(trials):
        number, task = divmod(order, 19)
        name = study.tasks[task]
        lr = stable_seed(order) / 2**32
        intent = Intent(
            f"{name}.linear.search.{number:04d}", name, "linear", "search", number, order, 0, {"lr": lr}
        )
        ledger.add_intent(intent)
        ledger.add_trial(intent, Outcome("completed", tuple(synthetic_curve(intent, START_EPOCHS))))
    return 1000 * (time.perf_counter() - begin) / trials


def start_s(folder: Path, trials: int) -> tuple[float, float, float, int]:
    """Seconds to open a ledger, to read its history and to replay it; and the ended trials found."""
    study, begin = start_study(trials), time.perf_counter()
    with Ledger(folder, study, CODE):
        opened = time.perf_counter()
        intents, ended = history(folder)
        read = time.perf_counter()
        planner = Planner(study, intents, ended)
        replayed = time.perf_counter()
    found = sum(cell.count("search") for cell in planner.cells.values())
    return opened - begin, read - opened, replayed - read, found


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """The result of a call in a fresh process, which ends without tidying up."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def trial_lines(trials: int, repeats: int) -> list[str]:
    lines = [
        "| reports | | trials | wall, ms a trial | driver's CPU, ms a trial | driver's memory, kB a trial |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for reports in (9, 100):
        number = trials if reports < 50 else max(250, trials // 4)
        costs: dict[str, list[tuple[float, float, float]]] = {"wst": [], "plain Ray Tune": []}
        for _ in range(repeats):
            costs["wst"].append(alone(ours, number, reports))
            costs["plain Ray Tune"].append(alone(plain, number, reports))
        for name, found in costs.items():
            cells = [spread(column) for column in zip(*found, strict=True)]
            lines.append(f"| {reports} | {name} | {number} | {' | '.join(cells)} |")
    return lines


def spread(values: tuple[float, ...]) -> str:
    """The median, and the range where there are several."""
    middle = f"{median(values):.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.0f} to {max(values):.0f})"


def planner_lines() -> list[str]:
    lines = [
        "| trials so far | ask, ms | reports, ms | tell, ms |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for done, *times in alone(planner_ms, [100, 1000, 5000]):
        lines.append(f"| {done} | {' | '.join(f'{ms:.2f}' for ms in times)} |")
    return lines


def start_lines(trials: int) -> list[str]:
    lines = [
        "| ledger | open, s | read, s | replay, s | in all, s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        written = alone(write_ledger, out, trials)
        for name in (f"{3 * trials:,} fragments, after a kill", "one file a table"):
            *seconds, found = alone(start_s, out, trials)
            assert found == trials
            lines.append(f"| {name} | {' | '.join(f'{s:.1f}' for s in [*seconds, sum(seconds)])} |")
    return [*lines, "", f"Writing took {written:.1f} ms a trial: intent, epochs and row, each durable."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=1, help="of the comparison with plain Ray Tune")
    parser.add_argument("--ledger-trials", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    lines = [
        "# The engine's cost",
        "",
        f"{SLOTS} slots, {os.cpu_count()} cores with a load of {load:.1f} before the run, "
        f"Python {platform.python_version()}, Ray {ray.__version__}.",
        "",
        "## A trivial trial",
        "",
        *trial_lines(args.trials, args.repeats),
        "",
        "## The planner's CPU time a trial",
        "",
        "19 tasks x 5 variants, search with successive halving, confirm and final, random suggestions.",
        "",
        *planner_lines(),
        "",
        f"## A start on {args.ledger_trials:,} trials of {START_EPOCHS} epochs",
        "",
        *start_lines(args.ledger_trials),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)


if __name__ == "__main__":
    main()
