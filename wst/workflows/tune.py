"""A study from its file to its ledger: check everything first, then run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from wst.engine.address import asked_for
from wst.engine.driver import Driver
from wst.engine.environment import Environment
from wst.engine.inline import run as run_inline
from wst.engine.rows import check_rows
from wst.errors import InputError
from wst.ledger import Ledger, history, provenance
from wst.planning.planner import Planner, stage_seeds
from wst.study import Study
from wst.trackers import Tracker, Trackers, open_tracker
from wst.workflows.preflight import check, new_warnings, parameter_counter
from wst.workflows.settings import typed
from wst.workflows.warm_start import resolve_warm_starts


def run_study(
    study: Study,
    out: Path,
    root: str | None = None,
    *,
    inline: bool = False,
    address: str | None = None,
    stop_after: float | None = None,
    retry_failed: bool = False,
    track: Sequence[str] = (),
    display: Callable[[Planner], Tracker] = lambda planner: Tracker(),
    told: Callable[[str], None] = lambda line: None,
    leaderboard: Callable[[Path], Sequence[Mapping[str, Any]]] = lambda folder: (),
) -> Planner:
    """Run a study, or go on with the one in ``out``; returns the planner as it stands at the end.

    Args:
        study: what is asked for.
        out: the study's output folder.
        root: folder that holds the suite's folder.
        inline: run in this process, one trial at a time, without Ray.
        address: a running Ray cluster.
        stop_after: seconds after which to stop, with the study to be gone on with later.
        retry_failed: run the trials again that failed before.
        track: names of trackers, see :mod:`wst.trackers`.
        display: a tracker that shows where the planner stands.
        told: told, a line each, what the check of the data warns of that the ledger does not hold yet.
        leaderboard: gives the trackers the rows of the leaderboard of ``out``, once the study is complete.

    Raises:
        InputError: bad input; no trial was lost.
        wst.engine.faults.StudyInterrupted: the user stopped it, or time is over; the same call goes on.
        wst.engine.faults.StudyStoppedError: it cannot go on; the ledger is whole.
    """
    if inline and address is not None:
        raise InputError(f"inline: expected no address beside it; found {address}")
    deadline = time.monotonic() + stop_after if stop_after is not None else None
    if address is not None:
        _find_cluster(address)
    study = typed(resolve_warm_starts(study))
    checked = check(study, root, told)
    with ExitStack() as stack:
        trackers = stack.enter_context(Trackers([open_tracker(name, out, study.name) for name in track]))
        same = partial(check_rows, out, study, checked.fingerprint, stage_seeds(study))
        ledger = stack.enter_context(Ledger(out, study, provenance.code(), same))
        intents, ended = history(out, checked=True)
        retried: list[str] = []
        if retry_failed:
            retried = [t.intent.trial_id for t in ended if t.outcome.state == "failed"]
            ledger.discard(retried)
            ended = [t for t in ended if t.outcome.state != "failed"]
        planner = Planner(study, intents, ended, parameter_counter(study))
        for line in new_warnings(checked, ended):
            told(line)
        beside = stack.enter_context(checked.beside)
        environment = Environment(checked.data, checked.fingerprint, address, deadline, beside=beside)
        trackers.add(display(planner))
        _engine(inline)(Driver(study, planner, ledger, environment, trackers, retried=retried))
        if track and planner.done and (rows := leaderboard(out)):
            trackers.ranked(rows)
    return planner


def _find_cluster(address: str) -> None:
    """Refuse an address at which no cluster runs, before anything is made."""
    asked_for(address)  # a wrong word needs no Ray, which takes seconds to import
    from wst.engine.cluster import find

    find(address)


def _engine(inline: bool) -> Callable[[Driver], None]:
    """What runs the jobs; Ray takes seconds to import, which comes after the checks."""
    if inline:
        return run_inline
    from wst.engine.ray_tune import run

    return run
