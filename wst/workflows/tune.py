"""A study from its file to its ledger: check everything first, then run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from wst.cli.progress import Progress
from wst.engine.driver import Driver, Environment
from wst.engine.fingerprint import check_unchanged
from wst.ledger import Ledger, history, provenance
from wst.planning.planner import Planner
from wst.study import Study
from wst.trackers import Trackers, open_tracker
from wst.workflows.preflight import check, parameter_counter


def run_study(
    study: Study,
    out: Path,
    root: str | None = None,
    *,
    console: Console,
    address: str | None = None,
    stop_after: float | None = None,
    retry_failed: bool = False,
    track: Sequence[str] = (),
) -> Planner:
    """Run a study, or go on with the one in ``out``; returns the planner as it stands at the end.

    Args:
        study: what is asked for.
        out: the study's output folder.
        root: folder that holds the suite's folder.
        console: where progress is shown.
        address: a running Ray cluster.
        stop_after: seconds after which to stop, with the study to be gone on with later.
        retry_failed: run the trials again that failed before.
        track: names of trackers, see :mod:`wst.trackers`.

    Raises:
        InputError: bad input; no trial was lost.
        wst.engine.faults.StudyInterrupted: the user stopped it, or time is over; the same call goes on.
        wst.engine.faults.StudyStoppedError: it cannot go on; the ledger is whole.
    """
    deadline = time.monotonic() + stop_after if stop_after is not None else None
    checked = check(study, root)
    with ExitStack() as stack:
        trackers = Trackers([open_tracker(name, out) for name in track])
        stack.callback(trackers.close)
        ledger = stack.enter_context(Ledger(out, study, provenance.code()))
        intents, ended = history(out)
        check_unchanged(ended, checked.data_hashes, checked.checkpoint_hash)
        if retry_failed:
            ledger.discard([t.intent.trial_id for t in ended if t.outcome.state == "failed"])
            ended = [t for t in ended if t.outcome.state != "failed"]
        planner = Planner(study, intents, ended, parameter_counter(study))
        from wst.engine import ray_tune as engine  # Ray takes seconds to import; checks come first

        environment = Environment(
            checked.root.absolute(), checked.data_hashes, checked.checkpoint_hash, address, deadline
        )
        progress = stack.enter_context(Progress(planner, console))
        engine.run(Driver(study, planner, ledger, environment, progress.update, trackers))
    return planner
