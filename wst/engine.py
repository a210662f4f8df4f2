"""Ray Tune places and runs what the planner decides on.

A thin coat: a ``Trainable`` over :class:`wst.trial.Trial`, a ``Searcher`` over ``Planner.ask``, a
``TrialScheduler`` over ``Planner.report``.  What Ray calls a trial is a *job* here and carries one trial;
none of Ray's state is kept, since the ledger holds everything (``Tuner.restore`` repeats and loses trials).
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

# Set before Ray is imported, which reads most of these once.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a slot without a GPU sees none
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the newer output prints even when told to be silent
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ray's own makes fit() return as if all were well
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # CSV, JSON and TensorBoard files cost 120 ms a trial
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")  # its state is never read
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
from ray import tune
from ray._private import ray_constants
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from wst.driver import Driver, Environment
from wst.ledger import Ledger
from wst.planner import Planner
from wst.records import Epoch, State, TrialSpec, failed
from wst.study import Study

LOST_WORKER_RETRIES = 2


class StudyInterrupted(KeyboardInterrupt):
    """The user asked to stop, by Ctrl-C or SIGTERM.

    No ``Exception``: Ray would wait for its workers to end their epochs before it passed one on.
    """


class TrialJob(tune.Trainable):  # type: ignore[misc]
    """Runs one trial up to its next report at a time; the actor goes on to the next trial afterwards.

    What a trial raises comes back as its outcome: an exception here would cost a fresh actor.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take a trial; it is built in the first step, where its errors are caught."""
        self._spec: TrialSpec = config["spec"]
        self._report_epochs: frozenset[int] = config["report_epochs"]
        self._trial: Any = None
        self._epochs: Iterator[Epoch] = iter(())

    def reset_config(self, config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report: the epochs since the last one, the outcome if the trial ended here."""
        try:
            return self._step()
        except Exception as error:
            return {"epochs": (), "outcome": failed(error), "done": True}

    def _step(self) -> dict[str, Any]:
        if self._trial is None:
            from wst.trial import Trial

            self._trial = Trial(self._spec)
            self._epochs = self._trial.epochs()
            if self._trial.curve:  # continued: report what came before without training
                return self._report(self._trial.curve, "pruned", done=False)
        new: list[Epoch] = []
        for epoch in self._epochs:
            new.append(epoch)
            if epoch.epoch in self._report_epochs and epoch.epoch < self._spec.recipe.epochs:
                return self._report(new, "pruned", done=False)
        test = self._trial.test() if self._spec.intent.stage == "final" else None
        self._trial.save_adapter(test)
        return self._report(new, "completed", done=True, test=test)

    def _report(
        self, epochs: Sequence[Epoch], state: State, done: bool, test: tuple[float, int] | None = None
    ) -> dict[str, Any]:
        # The driver has the earlier epochs: sending the whole curve each time would grow quadratically.
        outcome = replace(self._trial.outcome(state, test), epochs=())
        return {"epochs": tuple(epochs), "outcome": outcome, "done": done}


class _Searcher(Searcher):  # type: ignore[misc]
    """Asks the driver for jobs and hands it their ends."""

    def __init__(self, driver: Driver):
        super().__init__()
        self._driver = driver
        self._report_epochs = frozenset(driver.study.report_epochs())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        spec = self._driver.next_job(trial_id)
        if spec is None:
            return Searcher.FINISHED if self._driver.planner.done else None
        return {"spec": spec, "report_epochs": self._report_epochs}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error or not result:
            self._driver.give_up(trial_id)
        else:
            self._driver.end(trial_id, result["epochs"], result["outcome"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the ledger has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to bring back."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """First come, first served; stops a trial when the planner's pruner says so.

    Reports pass here rather than through the searcher, whose hook Ray skips when a trial is stopped.
    """

    def __init__(self, driver: Driver):
        super().__init__()
        self._driver = driver

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stop = self._driver.report(trial.trial_id, result["epochs"])
        decision: str = TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
        return decision

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        self._driver.lost(trial.trial_id, str(trial.get_error()))


class _Interruption(tune.Stopper):  # type: ignore[misc]
    """Turns Ctrl-C and SIGTERM into :class:`StudyInterrupted` between two events of Tune's loop.

    A handler that raises would do so inside Ray's compiled code, which answers with ``SystemError``; so the
    handler leaves a mark, and Tune, which asks its stopper after every event, finds it.
    """

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._signal is not None:
            raise StudyInterrupted(self._signal.name)
        return False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals while the context lasts."""

        def mark(number: int, frame: FrameType | None) -> None:
            self._signal = signal.Signals(number)

        before = {number: signal.signal(number, mark) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _loopback() -> Iterator[None]:
    """Keep a Ray that starts here off the network.

    On Linux, Ray replaces a loopback address by the machine's outward one, and its servers then listen on
    every interface.  The switch that keeps it local on macOS and Windows stops that, for its children too.
    """
    switch = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(switch), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[switch], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before[0]


@contextmanager
def _ray(study: Study, address: str | None) -> Iterator[int]:
    """Connect to Ray, or start it on loopback; yields the number of slots, and ends what was started."""
    need = study.resources
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        cpus = max(os.cpu_count() or 1, need.cpus_per_trial * (need.slots or 1))
        with _loopback():
            ray.init(
                address="local", num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet
            )
    else:
        ray.init(address=address, **quiet)
    try:
        have = ray.cluster_resources()
        slots = int(have.get("CPU", 0) // need.cpus_per_trial)
        if need.gpus_per_trial:
            slots = min(slots, int(have.get("GPU", 0) / need.gpus_per_trial + 1e-9))
        yield min(slots, need.slots or slots)
    finally:
        ray.shutdown()


def run(
    study: Study,
    planner: Planner,
    ledger: Ledger,
    environment: Environment,
    on_change: Callable[[], None] = lambda: None,
    job: type[tune.Trainable] = TrialJob,
) -> None:
    """Run a study to its end.

    Args:
        study: what was asked for.
        planner: standing where the ledger stands.
        ledger: open for writing.
        environment: data and machines.
        on_change: called after every start and end of a trial.
        job: what runs a trial; benchmarks put a trivial one here.

    Raises:
        StudyInterrupted: after Ctrl-C or SIGTERM; the ledger is whole and the study can go on.
        RuntimeError: the machines cannot hold a single trial.
    """
    if planner.done:
        return
    driver = Driver(study, planner, ledger, environment, on_change)
    interruption = _Interruption()
    scratch = Path(tempfile.mkdtemp(prefix="wst-ray-"))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are rows of the ledger
    need = study.resources
    try:
        # Ray takes SIGTERM for itself when it starts, so we listen from then on.
        with _ray(study, environment.address) as slots, interruption.listening():
            if slots < 1:
                have = ray.cluster_resources()
                raise RuntimeError(
                    f"resources: expected room for {need.cpus_per_trial} CPUs and {need.gpus_per_trial:g} "
                    f"GPUs; found {have.get('CPU', 0):g} and {have.get('GPU', 0):g}"
                )
            driver.slots = slots
            tune.Tuner(
                tune.with_resources(job, {"cpu": need.cpus_per_trial, "gpu": need.gpus_per_trial}),
                tune_config=tune.TuneConfig(
                    search_alg=_Searcher(driver),
                    scheduler=_Scheduler(driver),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.trial_id,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="study",
                    storage_path=str(scratch),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # we keep our own
                    failure_config=tune.FailureConfig(max_failures=LOST_WORKER_RETRIES),
                    stop=interruption,
                    verbose=0,
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not planner.done:
        raise RuntimeError("Ray Tune ended before the study did; the same command goes on with it")
