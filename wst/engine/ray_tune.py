"""Ray Tune places and runs what the planner decides on.

A thin coat: a ``Trainable`` over :class:`wst.engine.job.Job`, a ``Searcher`` over ``Driver.next_job``, a
``TrialScheduler`` over ``Driver.take``.  What Ray calls a trial is a *job* here and carries one trial, some
that share a pass, or several seeds of a final; none of Ray's state is kept, since the ledger holds everything
(``Tuner.restore`` repeats and loses trials).
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import wst.engine.before_ray  # noqa: F401

# isort: split
import ray
from ray import tune
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wst.engine.cluster import connected
from wst.engine.driver import Driver
from wst.engine.environment import Environment
from wst.engine.faults import OutOfTime, StudyInterrupted, StudyStoppedError
from wst.engine.fingerprint import fingerprint
from wst.engine.job import Job
from wst.engine.own_folder import RAY, own_folder
from wst.engine.watchdog import watched
from wst.errors import InputError
from wst.study import Study
from wst.training.spec import backbone_anywhere

_RAY_NEEDS = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)


class TrialJob(tune.Trainable):  # type: ignore[misc]
    """A :class:`wst.engine.job.Job` in an actor of Ray, which takes another afterwards."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the trials of a job."""
        self._job = Job(config["specs"], config["report_epochs"])

    def reset_config(self, config: dict[str, Any]) -> bool:
        """Take those of the next."""
        self.setup(config)
        return True

    def leave(self, trial_ids: Collection[str]) -> None:
        """Leave trials of the job that need not go on."""
        self._job.drop(trial_ids)

    def step(self) -> dict[str, Any]:
        """Train to the next report."""
        reports = self._job.step()
        return {"reports": reports, "done": self._job.done}


class _Searcher(Searcher):  # type: ignore[misc]
    """Asks the driver for jobs and hands it their ends."""

    def __init__(self, driver: Driver):
        super().__init__()
        self._driver = driver
        self._report_epochs = frozenset(driver.study.report_epochs())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        specs = self._driver.next_job(trial_id)
        if specs is None:
            return Searcher.FINISHED if self._driver.finished else None
        return {"specs": specs, "report_epochs": self._report_epochs}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error or not result:
            self._driver.give_up(trial_id)
        else:
            self._driver.close(trial_id, result["reports"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the ledger has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to bring back."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Starts the newest job first; stops one when the planner's pruner says so.

    Reports pass here rather than through the searcher, whose hook Ray skips when a trial is stopped.
    """

    def __init__(self, driver: Driver):
        super().__init__()
        self._driver = driver
        self._newest: Any = None

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        self._newest = trial

    def choose_trial_to_run(self, controller: Any) -> Any:
        """The newest job while it waits: it takes the actor that has just become free.

        The oldest, which is Ray's choice, may wait for an actor of its own that is starting, and would give
        that one up instead; where trials are shorter than a start, slots would stay empty.
        """
        waits = self._newest is not None and self._newest.status == self._newest.PENDING
        return self._newest if waits else None

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        dropped = self._driver.take(trial.trial_id, result["reports"])
        over = not self._driver.running(trial.trial_id)
        over = over or self._driver.fatal is not None  # a further step might read what was not written down
        if dropped and not over:
            # An actor does its calls in their order: this one before its next step.
            controller._schedule_trial_task(trial, "leave", args=(dropped,))
        decision: str = TrialScheduler.STOP if over else TrialScheduler.CONTINUE
        return decision

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        self._driver.lost(trial.trial_id, str(trial.get_error()))
        # Where the job starts again, it is without the trials that have ended.
        going_on = self._driver.running(trial.trial_id)
        trial.config["specs"] = [s for s in trial.config["specs"] if s.intent.trial_id in going_on]


class _Interruption(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's loop between two of its events, which ask here: after Ctrl-C or SIGTERM, when time is over,
    and when the driver can't go on.

    A handler that raises would do so inside Ray's compiled code, which answers with ``SystemError``; so the
    handler leaves a mark.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._signal: signal.Signals | None = None
        deadline = driver.environment.deadline
        self._deadline = deadline if deadline is not None else float("inf")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as with the driver."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._driver.fatal is not None:
            raise StudyStoppedError(self._driver.fatal)
        if self._driver.finished:  # nothing is left to stop
            return False
        if self._signal is not None:
            raise StudyInterrupted(self._signal.name)
        if time.monotonic() > self._deadline:
            raise OutOfTime()
        return False

    def stuck(self) -> tuple[str, int] | None:
        """What keeps Tune's loop from ever asking here, and the exit status for it; None while all is well.

        When its node manager has died, Ray's driver may wait for it for ever, deaf to signals.
        """
        goes_on = f"The ledger is whole; the same command goes on with {self._driver.ledger.folder}."
        node = ray_worker._global_node  # None where we joined a cluster
        for kind, _ in node.dead_processes() if node is not None else ():
            if kind in _RAY_NEEDS:
                return f"Ray: expected its {kind} to run; found it ended. {goes_on}", 1
        if self._signal is not None:
            return f"Ray: expected it to stop; found no answer. {goes_on}", 130
        return None

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


def run(driver: Driver, job: type[tune.Trainable] = TrialJob) -> None:
    """Run a study to its end.

    Args:
        driver: of a planner that stands where the ledger stands.
        job: what runs trials; benchmarks put a trivial one here.

    Raises:
        StudyInterrupted: after Ctrl-C or SIGTERM, or, as ``OutOfTime``, when the environment's time is over;
            the ledger is whole and the study can go on.
        StudyStoppedError: the study cannot go on: a full disk, or most trials failing alike.
        InputError: no cluster answers at the address, the machines cannot hold a single trial, or a node
            lacks data or weights.
    """
    if driver.planner.done:
        return
    interruption = _Interruption(driver)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are rows of the ledger
    study = driver.study
    need = study.resources
    # Ray takes SIGTERM for itself when it starts, so we listen from then on.
    with (
        own_folder() as folder,
        connected(study, driver.environment.address, folder / RAY) as slots,
        interruption.listening(),
        watched(interruption.stuck),
    ):
        if slots < 1:
            have = ray.cluster_resources()
            raise InputError(
                f"resources: expected room for {need.cpus_per_trial} CPUs and {need.gpus_per_trial:g} "
                f"GPUs on one machine; found {have.get('CPU', 0):g} and {have.get('GPU', 0):g} in all"
            )
        if driver.environment.address is not None:
            _check_nodes(study, driver.environment)
        driver.slots, driver.while_waiting = slots, interruption.stop_all
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)  # start actors at once, not one by one
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
                storage_path=str(folder / "tune"),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # we keep our own
                failure_config=tune.FailureConfig(max_failures=study.faults.retries),
                stop=interruption,
                verbose=0,
            ),
        ).fit()
    if driver.fatal is not None:
        raise StudyStoppedError(driver.fatal)
    if not driver.planner.done:
        raise StudyStoppedError("Ray Tune ended before the study did; the same command goes on with it")


def _check_nodes(study: Study, environment: Environment) -> None:
    """Look on every node for the data and weights that this machine has.

    Raises:
        InputError: naming the node, and what it lacks.
    """
    backbone = backbone_anywhere(study)
    data, expected = environment.data, environment.fingerprint  # what travels

    @ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
    def look() -> str | None:
        try:
            return expected.difference(fingerprint(backbone, data))
        except InputError as error:
            return str(error)

    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    found = {
        node: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    }
    for node, answer in found.items():
        try:
            problem = ray.get(answer)
        except ray.exceptions.RayError as error:  # it lacks a library, say, or was lost meanwhile
            problem = str(error).strip().splitlines()[-1]
        if problem is not None:
            raise InputError(f"node {nodes[node]} ({node[:8]}): {problem}")
