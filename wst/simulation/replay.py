"""Replay recorded learning curves through the planner on a virtual clock: a search without training.

The replayed study's own planner asks, is reported to and is told as in a real run; a virtual machine takes
each trial's epochs from a ledger.  So samplers, pruners and budgets compare over many repeats in the time
that a few trials take to train.

Where several trials of a configuration are recorded, the replay draws one.  A curve that is met again,
under settings too close for the record to tell them apart, is charged again.
"""

from __future__ import annotations

import heapq
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wst.errors import InputError
from wst.planning.planner import Planner
from wst.records import Epoch, Hyperparameters, Intent, Outcome, stable_seed
from wst.simulation.recording import CellCurves, Recording
from wst.study import Study

Cost = Literal["epochs", "seconds"]


@dataclass(frozen=True)
class CellReplay:
    """One cell of one replay.

    Compute is what the cell's trials have used on all slots, in full trials: epochs divided by the
    recipe's, or recorded seconds divided by the mean recorded seconds of a full trial.

    Attributes:
        compute: spent when each completed trial ended, ascending.
        accuracy: validation accuracy of these trials after the last epoch, in [0, 1].
        total: spent in all.
        pruned: trials that were stopped.
        repeated: trials that landed on a configuration that the cell had tried before.
        clock: virtual time at which the cell's last trial ended, in epochs or seconds.
    """

    task: str
    variant: str
    compute: tuple[float, ...]
    accuracy: tuple[float, ...]
    total: float
    pruned: int
    repeated: int
    clock: float


@dataclass
class _Job:
    """A trial on a slot of the virtual machine."""

    intent: Intent
    recorded: Outcome
    start: float
    told: list[Epoch] = field(default_factory=list)
    trained: int = 0
    """Epochs trained at the report that comes next."""


@dataclass
class _CellState:
    """What has happened in one cell so far."""

    spent: float = 0.0
    completed: list[tuple[float, float]] = field(default_factory=list)
    landed: dict[int, int] = field(default_factory=dict)
    pruned: int = 0
    clock: float = 0.0


class Machine:
    """A virtual machine that runs the search of a study by looking its trials up.

    Args:
        study: what to replay; of its stages the search alone.
        cells: recorded curves by cell, of :meth:`Recording.cells`.
        slots: trials at a time, over all cells.
        cost: what a trial's epoch takes: 1, or the seconds that were recorded.

    Raises:
        InputError: the study searches nothing, or for several objectives.
    """

    def __init__(
        self,
        study: Study,
        cells: Mapping[tuple[str, str], CellCurves],
        slots: int = 1,
        cost: Cost = "epochs",
    ):
        self._study = searching(study)
        self._planner = Planner(self._study, count_parameters=self._parameters)
        self._cells, self._cost, self._slots = cells, cost, slots
        self._reports = self._study.report_epochs()
        self._now = 0.0
        self._order = 0
        self._queue: list[tuple[float, int, _Job]] = []
        self._states = {pair: _CellState() for pair in cells}

    def run(self) -> list[CellReplay]:
        """Replay the whole search."""
        while True:
            while len(self._queue) < self._slots and (intent := self._planner.ask()) is not None:
                self._launch(intent)
            if not self._queue:
                return [self._result(pair) for pair in self._states]
            self._now, _, job = heapq.heappop(self._queue)
            self._report(job)

    def _parameters(self, variant: str, settings: Hyperparameters) -> int:
        """The recorded number of trainable parameters; the head is not counted, so any task's will do."""
        return self._cells[self._study.tasks[0], variant].nearest(settings)[0].trainable_parameters or 0

    def _launch(self, intent: Intent) -> None:
        settled = self._planner.settled(intent)
        if settled is not None:  # nothing to train
            self._planner.finish(intent.trial_id, settled)
            return
        pair = intent.task, intent.variant
        outcomes = self._cells[pair].nearest(intent.hyperparameters)
        landed = self._states[pair].landed
        landed[id(outcomes)] = landed.get(id(outcomes), 0) + 1
        drawn = stable_seed(self._study.seed, intent.trial_id) % len(outcomes)
        self._wait(_Job(intent, outcomes[drawn], self._now))

    def _wait(self, job: _Job) -> None:
        """Let a job train to its next report."""
        job.trained = next(epoch for epoch in self._reports if epoch > job.trained)
        self._order += 1
        heapq.heappush(self._queue, (job.start + self._duration(job), self._order, job))

    def _duration(self, job: _Job) -> float:
        trained = job.recorded.epochs[: job.trained]
        return float(len(trained)) if self._cost == "epochs" else sum(epoch.seconds for epoch in trained)

    def _report(self, job: _Job) -> None:
        """Pass on the epochs since the last report, and end the trial where it is stopped or at its end."""
        for epoch in job.recorded.epochs[len(job.told) : job.trained]:
            job.told.append(epoch)
            if self._planner.report(job.intent.trial_id, epoch):
                self._end(job, pruned=True)
                return
        if job.trained == self._study.recipe.epochs:
            self._end(job, pruned=False)
        else:
            self._wait(job)

    def _end(self, job: _Job, pruned: bool) -> None:
        intent = job.intent
        outcome = replace(job.recorded, state="pruned" if pruned else "completed", epochs=tuple(job.told))
        self._planner.tell(intent.trial_id, outcome)
        state = self._states[intent.task, intent.variant]
        state.spent += self._duration(job)
        state.clock = self._now
        state.pruned += pruned
        if not pruned:
            running = sum(
                self._now - other.start
                for _, _, other in self._queue
                if (other.intent.task, other.intent.variant) == (intent.task, intent.variant)
            )
            accuracy = job.told[-1].val_top1
            assert accuracy is not None
            state.completed.append((state.spent + running, accuracy))

    def _result(self, pair: tuple[str, str]) -> CellReplay:
        state = self._states[pair]
        epochs, seconds = float(self._study.recipe.epochs), self._cells[pair].mean_seconds
        full = epochs if self._cost == "epochs" else seconds
        return CellReplay(
            *pair,
            compute=tuple(spent / full for spent, _ in state.completed),
            accuracy=tuple(accuracy for _, accuracy in state.completed),
            total=state.spent / full,
            pruned=state.pruned,
            repeated=sum(times - 1 for times in state.landed.values()),
            clock=state.clock,
        )


def searching(study: Study) -> Study:
    """The study with its search alone.

    Raises:
        InputError: it searches nothing, or for several objectives.
    """
    if study.search is None or all(variant.space is None for variant in study.variants.values()):
        raise InputError(f"study {study.name!r}: expected a search and a variant with a space; found none")
    if len(study.search.objectives) > 1:
        raise InputError(
            f"study {study.name!r}: search.objectives: expected val_top1 alone; "
            f"found {', '.join(study.search.objectives)}"
        )
    searched = {name: variant for name, variant in study.variants.items() if variant.space is not None}
    return study.model_copy(update={"variants": searched, "confirm": None, "final": None})


def replay(
    study: Study,
    recording: Recording,
    *,
    repeats: int,
    slots: int = 1,
    cost: Cost = "epochs",
    processes: int = 1,
) -> Iterator[list[CellReplay]]:
    """Replay a study's search under consecutive seeds, beginning with the study's own.

    Args:
        study: what to replay.
        recording: the learning curves.
        repeats: how many replays.
        slots: trials at a time.
        cost: ``epochs`` or ``seconds``.
        processes: replays at a time.

    Returns:
        The cells of each repeat, in the order of the seeds, as they become ready.

    Raises:
        InputError: as :meth:`Recording.cells` and :class:`Machine`.
    """
    study = searching(study)
    cells = recording.cells(study)
    seeds = range(study.seed, study.seed + repeats)
    if processes == 1:
        yield from (_replay_once(study, cells, slots, cost, seed) for seed in seeds)
        return
    # Spawned rather than forked: this process may hold threads of pyarrow's.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin_worker, (study, cells, slots, cost)) as pool:
        yield from pool.map(_in_worker, seeds)


def _replay_once(
    study: Study, cells: Mapping[tuple[str, str], CellCurves], slots: int, cost: Cost, seed: int
) -> list[CellReplay]:
    return Machine(study.model_copy(update={"seed": seed}), cells, slots, cost).run()


_work: tuple[Study, Mapping[tuple[str, str], CellCurves], int, Cost]


def _begin_worker(*work: Any) -> None:
    global _work
    # The matrices are small: threads of several processes would only get in each other's way.
    os.environ["OMP_NUM_THREADS"] = "1"
    _work = work


def _in_worker(seed: int) -> list[CellReplay]:
    return _replay_once(*_work, seed)
