"""The driver's side of a study: it alone talks to the planner and writes the ledger.

Whatever places the jobs calls ``next_job``, ``take`` and ``close``, and ``lost`` or ``give_up`` when a worker
dies.  Nothing here knows Ray.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from wst.data.check.gate import TUNING
from wst.data.lists import SPLITS
from wst.engine.environment import Environment, checkpoint_path
from wst.engine.faults import CHANGED, DISK_FULL, OUT_OF_MEMORY, WORKER_LOST, message, no_room
from wst.engine.passes import Passes
from wst.engine.plan import Plan
from wst.errors import InputError
from wst.ledger import Ledger, reads
from wst.records import Cost, End, Epoch, Intent, Outcome, Read, Report, State
from wst.study import Study
from wst.trackers import Trackers
from wst.training.place import check_place
from wst.training.spec import Device, TrialSpec, device_of, trial_spec

_WINDOW = 10
"""Trials of which too many may not fail alike."""


@dataclass
class _Running:
    """A trial in progress, as the driver knows it."""

    intent: Intent
    curve: list[Epoch] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    """As the trial said last."""
    stopped: bool = False
    attempts: int = 1
    error: str | None = None
    announced: bool = False
    """Whether its read of the test split is written down, in this attempt."""


class Driver:
    """Gives out jobs and takes their reports and ends.

    Args:
        study: what was asked for.
        planner: standing where the ledger stands.
        ledger: open for writing.
        environment: the study's data and machines.
        trackers: told of every trial and epoch.
        purpose: what its trials read test splits for, in words.
        retried: trials that had failed and run again.
    """

    def __init__(
        self,
        study: Study,
        planner: Plan,
        ledger: Ledger,
        environment: Environment,
        trackers: Trackers | None = None,
        purpose: str = "final trial of the study",
        retried: Collection[str] = (),
    ):
        self.study, self.planner, self.ledger, self.environment = study, planner, ledger, environment
        self.slots = 1
        self.device: Device = environment.device or device_of(study)
        """Where the trials train."""
        self.fatal: str | None = None
        """Why the study has to stop now; the ledger is whole."""
        self._purpose, self._retried = purpose, frozenset(retried)
        self._passes = Passes(study)
        self._trackers = trackers or Trackers()
        self._jobs: dict[str, dict[str, _Running]] = {}
        self._again: dict[str, _Running] = {}
        """Trials that ran out of memory and start again."""
        self._ends: deque[str | None] = deque(maxlen=_WINDOW)
        """Why the last trials failed; None for one that did not."""
        self.while_waiting: Callable[[], object] = lambda: None
        """Called while nothing else is to be done than to wait; what it raises ends the study."""
        self._held: Intent | None = None
        """A final whose test split has not been looked at whole."""
        if environment.beside is not None:
            environment.beside.on_problem(self._stop)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its searcher for a restore that we never ask for."""
        return {}

    @property
    def finished(self) -> bool:
        """True when no further job will come."""
        return self.fatal is not None or self.planner.done

    def next_job(self, job_id: str) -> list[TrialSpec] | None:
        """The trials that a new job is to run, one after another: one, or several seeds of a final.

        None when all slots are taken, a running trial must end first, or the study is finished.
        """
        while self.fatal is None and len(self._jobs) < self.slots:
            intent = self._held or self.planner.ask()
            self._held = None
            if intent is None or not self._fit(intent):
                return None
            intents = [one for one in self._with_company(intent) if not self._settled(one)]
            places = [place for one in intents if (place := self._adapter_place(one)) is not None]
            if self.fatal is not None or not all(self._write(check_place, place) for place in places):
                return None
            if intents:
                return self._start(job_id, intents)
        return None

    def _settled(self, intent: Intent) -> bool:
        """Write down that a trial was asked for, and its end where it need not run."""
        if not self.ledger.begun(intent.trial_id):
            # One of that name may have been lost, and must not lend this one its state.
            self._drop_checkpoint(intent.trial_id)
            self._write(self.ledger.add_intent, intent)
        outcome = self.planner.settled(intent)
        if outcome is None or self.fatal is not None:
            return False
        self._trackers.start(intent)
        if self._write(self.ledger.add_trial, intent, outcome):
            self.planner.finish(intent.trial_id, outcome)
            self._trackers.end(intent, outcome)
        return True

    def _stop(self, reason: str) -> None:
        """End the study, whoever calls: engines look between two events."""
        self.fatal = self.fatal or reason

    def _fit(self, intent: Intent) -> bool:
        """Whether a trial may start: a final when every test image has been decoded once.

        One that may not is held until then; the study waits for it where nothing else runs.
        """
        task, beside = intent.task, self.environment.beside
        if intent.stage != "final" or beside is None or beside.seen(task):
            return True
        if not self._jobs and beside.wait(task, self.while_waiting):
            return True
        self._held = intent
        return False

    def _with_company(self, intent: Intent) -> list[Intent]:
        """A trial and those that share its job: further seeds of a final, and a pass's others.

        One that ran out of memory before has a pass to itself.
        """
        found = [intent]
        final, most = self.study.final, self.study.resources.trials_per_pass
        seeds = final.seeds_per_job if final is not None and intent.stage == "final" else 1
        while len(found) < seeds and (another := self.planner.ask_alike(intent)) is not None:
            found.append(another)
        if len(found) >= most or intent.trial_id in self._again:
            return found
        kind = self._passes.kind(intent)

        def fits(other: Intent) -> bool:
            beside = self.environment.beside
            seen = other.stage != "final" or beside is None or beside.seen(other.task)
            return seen and other.trial_id not in self._again and self._passes.kind(other) == kind

        def searches(task: str, variant: str) -> bool:
            return intent.stage == "search" and self._passes.kind_of_search(task, variant) == kind

        while len(found) < most and (another := self.planner.ask_beside(found, fits, searches)) is not None:
            found.append(another)
        return found

    def _start(self, job_id: str, intents: Sequence[Intent]) -> list[TrialSpec]:
        self._jobs[job_id] = job = {}
        for intent in intents:
            again = intent.trial_id in self._again
            job[intent.trial_id] = self._again.pop(intent.trial_id) if again else _Running(intent)
            self._trackers.start(intent)
        self._trackers.jobs(len(self._jobs))
        return [self._spec(intent) for intent in intents]

    def take(self, job_id: str, reports: Sequence[Report]) -> frozenset[str]:
        """Take a job's reports, any of which may come twice; returns the trials that need not go on.

        Those have ended, as pruned.  When it returns, the reads of test splits that the reports announce are
        on the disk; unless ``fatal`` is set, when no step of any job may follow.
        """
        dropped = set()
        self._announced(job_id, reports)
        for report in reports:
            running = self._jobs[job_id].get(report.trial_id)
            if running is None:  # it has ended before
                continue
            running.cost = report.cost or running.cost
            self._record(running, report.epochs)
            if report.end is not None:
                self._end(job_id, running, report.end)
            elif running.stopped:
                dropped.add(report.trial_id)
                self._end(job_id, running, End())
        return frozenset(dropped)

    def _announced(self, job_id: str, reports: Sequence[Report]) -> None:
        """Write down the reads of test splits that a job is about to do."""
        pairs = [(self._jobs[job_id].get(report.trial_id), report.reads) for report in reports]
        new = [(running, images) for running, images in pairs if images and running and not running.announced]
        if new and self.fatal is None:
            self._write(self._write_reads, [(running.intent, images) for running, images in new])
            for running, _ in new:
                running.announced = True

    def _write_reads(self, announced: Sequence[tuple[Intent, int]]) -> None:
        """Write that test splits are to be read, for each trial that learns from it: in the ledger, and in
        the user's log."""
        # The log first of all is opened: what cannot be written there is not to be read.
        with reads.logging(self.study.name, self.ledger.folder) as log:
            for intent, images in announced:
                read = Read(
                    read_id=uuid4().hex,
                    trial_id=intent.trial_id,
                    task=intent.task,
                    variant=intent.variant,
                    split="test",
                    test_hash=self.environment.fingerprint.data[intent.task].test,
                    images=images,
                    time=datetime.now(UTC),
                    purpose=self._purpose_of(intent.trial_id),
                )
                self.ledger.add_read(read)
                log(read)

    def _purpose_of(self, trial_id: str) -> str:
        if trial_id in self._retried:
            return f"{self._purpose}; a retry of a failed trial"
        if self.ledger.reads(trial_id):
            return f"{self._purpose}; again, after it was interrupted while scoring"
        return self._purpose

    def running(self, job_id: str) -> int:
        """How many of a job's trials have not ended."""
        return len(self._jobs[job_id])

    def close(self, job_id: str, reports: Sequence[Report] = ()) -> None:
        """A job has ended, of itself or stopped: so have its trials."""
        self.take(job_id, reports)
        for running in list(self._jobs[job_id].values()) if self.fatal is None else ():
            # A trial that nothing is heard of must not count as running for ever.
            self._finish(job_id, running, End(WORKER_LOST, "the job ended without a result of the trial"))
        self._closed(job_id)

    def lost(self, job_id: str, error: str) -> None:
        """A worker died; Ray starts the job again, or gives it up."""
        for running in self._jobs[job_id].values():
            running.attempts += 1
            running.error = error
            running.announced = False

    def give_up(self, job_id: str) -> None:
        """A job's workers died too often: its trials have failed."""
        for running in list(self._jobs[job_id].values()) if self.fatal is None else ():
            running.attempts = max(1, running.attempts - 1)
            text = running.error or "the worker died"
            # Ray's memory monitor ends the worker that takes most when the host runs out.
            kind = "OutOfMemoryError" if "OutOfMemory" in text else WORKER_LOST
            self._finish(job_id, running, End(kind, text))
        self._closed(job_id)

    def _closed(self, job_id: str) -> None:
        del self._jobs[job_id]
        self._trackers.jobs(len(self._jobs))

    def _record(self, running: _Running, epochs: Sequence[Epoch]) -> None:
        """Pass on the epochs that the planner has not had."""
        new = []
        for epoch in epochs:
            if epoch.epoch > len(running.curve) and not running.stopped:
                running.curve.append(epoch)
                new.append(epoch)
                running.stopped = self.planner.report(running.intent.trial_id, epoch)
        if new:
            self._trackers.epochs(running.intent, new)

    def _end(self, job_id: str, running: _Running, end: End) -> None:
        """End a trial, unless it ran out of memory and may start again."""
        trial_id = running.intent.trial_id
        if self.fatal is not None:  # nothing is written any more; who ends now goes on with the study
            return
        if end.test is not None:  # another attempt would read the test split again
            self._finish(job_id, running, end)
        elif end.error_type in OUT_OF_MEMORY and running.attempts <= self.study.faults.retries:
            running.attempts += 1
            self._again[trial_id] = running
            self.planner.requeue(trial_id)
            running.announced = False
            del self._jobs[job_id][trial_id]
        elif end.error_type not in (DISK_FULL, CHANGED):
            self._finish(job_id, running, end)
        if end.error_type == DISK_FULL:
            text = no_room(end.error_text or "") or "none"
            self._stop(f"{self.ledger.folder}: expected room on the worker's disk; found {text}")
        elif end.error_type == CHANGED:
            self._stop(message(end.error_text or CHANGED))

    def _finish(self, job_id: str, running: _Running, end: End) -> None:
        """Write a trial's row, tell the planner, drop the trial's checkpoint."""
        intent = running.intent
        outcome = self._outcome(running, end)
        if not self._write(self.ledger.add_trial, intent, outcome):
            return
        self.planner.tell(intent.trial_id, outcome)
        del self._jobs[job_id][intent.trial_id]
        self._drop_checkpoint(intent.trial_id)
        self._trackers.end(intent, outcome)
        self._notice(outcome)

    def _drop_checkpoint(self, trial_id: str) -> None:
        with suppress(OSError):  # one that stays is in nobody's way
            checkpoint_path(self.ledger.folder, trial_id).unlink(missing_ok=True)

    def _outcome(self, running: _Running, end: End) -> Outcome:
        # The data's hash is known also where the trial never began.
        hashes = self.environment.fingerprint.data[running.intent.task]
        cost = replace(running.cost, data_hash=hashes.all, tuning_hash=hashes.tuning, test_hash=hashes.test)
        completed: State = "pruned" if running.stopped else "completed"
        return Outcome(
            completed if end.error_type is None else "failed",
            epochs=tuple(running.curve),
            error_type=end.error_type,
            error_text=end.error_text,
            attempts=running.attempts,
            test_top1=end.test.top1 if end.test else None,
            test_images=end.test.images if end.test else None,
            **self._data_notes(running.intent),
            **vars(cost),
        )

    def _data_notes(self, intent: Intent) -> dict[str, Any]:
        """What the check of the data says of the splits that a trial rests on."""
        if self.environment.beside is None:
            return {}
        final, report = intent.stage == "final", self.environment.beside.reports[intent.task]
        return {
            "val_overlap": report.val_overlap,
            "test_overlap": report.test_overlap if final else None,
            "data_warnings": "; ".join(report.warnings(SPLITS if final else TUNING)) or None,
        }

    def _write(self, write: Callable[..., None], *what: object) -> bool:
        """Write to the ledger.  An error ends the study rather than the trial in hand: Ray would take an
        exception from here for a failure of the job."""
        try:
            write(*what)
        except OSError as error:
            found = error.strerror or error
            self.fatal = f"{self.ledger.folder}: expected to write to the ledger; found {found}"
            return False
        except InputError as error:
            self.fatal = str(error)
            return False
        return True

    def _notice(self, outcome: Outcome) -> None:
        """Stop a study most of whose trials fail for the same reason."""
        self._ends.append(outcome.error_type if outcome.state == "failed" else None)
        most = self.study.faults.stop_when_alike
        reason, count = next(iter(Counter(filter(None, self._ends)).most_common(1)), (None, 0))
        if reason is not None and most and count >= most:
            last = (outcome.error_text or "").strip().splitlines() or [reason]
            self.fatal = f"{count} of the last {len(self._ends)} trials failed with {reason}: {last[-1]}"

    def _spec(self, intent: Intent) -> TrialSpec:
        hashes = self.environment.fingerprint.data[intent.task]
        return trial_spec(
            self.study,
            intent,
            # What a row says of data and weights is what the trial must find.
            data=replace(self.environment.data[intent.task], expected=hashes.content),
            device=self.device,
            data_hash=hashes.all,
            tuning_hash=hashes.tuning,
            weights=self.environment.fingerprint.weights,
            checkpoint_path=checkpoint_path(self.ledger.folder, intent.trial_id),
            adapter_path=self._adapter_place(intent),
        )

    def _adapter_place(self, intent: Intent) -> Path | None:
        """Where a trial keeps its adapter, if it does."""
        final = self.study.final
        if final is None or not final.save_adapters or intent.stage != "final":
            return None
        return self.ledger.folder / "adapters" / f"{intent.trial_id}.safetensors"
