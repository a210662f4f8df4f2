"""What the engine itself costs a trial, beside plain Ray Tune, both measured in one run.

    python benchmarks/engine.py [--trials 200] [--out benchmarks/results/engine.md]

The trials do nothing but report, so all their time is overhead.  Ours is the real engine: planner, Optuna,
intents and rows written durably to a real ledger, Ray Tune with reused actors.  Beside it the same number of
trials and reports on plain Ray Tune with OptunaSearch and its default loggers, actors reused as well.
Figures are milliseconds of wall time from the first trial's end to the last's, divided by the trials between.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from wst import engine
from wst.driver import Driver, Environment
from wst.ledger import Ledger
from wst.planner import Planner
from wst.records import Epoch, Outcome, Report
from wst.study import Study

SLOTS = 2


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


class Ends(tune.Callback):  # type: ignore[misc]
    """Times at which trials end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.times.append(time.perf_counter())


def per_trial_ms(times: list[float]) -> float:
    return 1000 * (times[-1] - times[0]) / (len(times) - 1)


def ours(trials: int, reports: int) -> float:
    space = {"lr": {"type": "float", "low": 0.0, "high": 1.0}}
    study = Study.model_validate(
        {
            "name": "overhead",
            "suite": "mini",
            "tasks": ["digits"],
            "backbone": "micro",
            "variants": {"linear": {"method": "linear", "space": space}},
            "recipe": {"epochs": reports, "warmup_epochs": 0},
            "search": {"trials": trials, "sampler": {"type": "random"}},
            "resources": {"slots": SLOTS},
            "report_every": 1,
        }
    )
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        with Ledger(out, study, {"version": "0", "commit": None, "libraries": "{}"}) as ledger:
            planner = Planner(study)
            environment = Environment(Path(folder), {"digits": "0"})

            def changed() -> None:
                ended = planner.cells["digits", "linear"].count("search")
                if ended > len(ends):
                    ends.append(time.perf_counter())

            engine.run(Driver(study, planner, ledger, environment, changed), job=TrivialJob)
    return per_trial_ms(ends)


def plain(trials: int, reports: int) -> float:
    ends = Ends()
    # The engine switches the loggers off for its own process; plain Ray Tune has them on.
    switched = {name: os.environ.pop(name, None) for name in ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS",)}
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
                    callbacks=[ends],
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
    finally:
        ray.shutdown()
        os.environ.update({name: value for name, value in switched.items() if value is not None})
    return per_trial_ms(ends.times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines = [
        "# The engine's cost a trial",
        "",
        f"{args.trials} trivial trials, {SLOTS} slots, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, Ray {ray.__version__}.",
        "",
        "| reports a trial | wst, ms a trial | plain Ray Tune, ms a trial | ratio |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for reports in (9, 100):
        trials = args.trials if reports < 50 else max(20, args.trials // 4)
        own, other = ours(trials, reports), plain(trials, reports)
        lines.append(f"| {reports} | {own:.0f} | {other:.0f} | {own / other:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)


if __name__ == "__main__":
    main()
