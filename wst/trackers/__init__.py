"""Trackers: who else hears of a study's trials, such as TensorBoard.

A tracker is one file in this folder with a function ``tracker(folder, study)``, found by name and imported
when asked for.  It gets the study's output folder and name, and returns a :class:`Tracker`.  The ledger stays
the only truth: nothing is ever read back from a tracker, and one that fails costs a warning, not a trial.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

from wst.errors import InputError
from wst.files import replacing
from wst.records import Epoch, Intent, Outcome
from wst.suggest import one_of

_log = logging.getLogger(__name__)
LIBRARIES = ("mlflow", "tensorboard", "wandb")
"""Libraries that the trackers of their names need, each an extra of wst's of that name."""


class Tracker:
    """Hears of every trial of a study, in the driver's process; a subclass overrides what it wants to hear.

    A trial's calls come in this order: ``start`` when it is launched, ``epochs`` with the new epochs of each
    of its reports, ``end`` once.  One that need not run has no ``epochs``.  Between them come those of other
    trials.  A trial that ran out of
    memory may start again, and goes on behind the epochs that were here.  One that goes on after the study
    was stopped begins anew: the tracker is another then, and gets the whole curve.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self, intent: Intent) -> None:
        """A trial was launched."""

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        """A running trial reported epochs, none of which was here before."""

    def end(self, intent: Intent, outcome: Outcome) -> None:
        """A trial ended; the outcome has its whole curve."""

    def jobs(self, number: int) -> None:
        """So many slots have work from now on; each runs a trial, or several."""

    def ranked(self, rows: Sequence[Mapping[str, str | float | None]]) -> None:
        """The study is complete: its leaderboard, a row a variant, accuracies in per cent."""

    def close(self) -> None:
        """The study has ended or was stopped; trials that are still running have no end."""


class Trackers(Tracker):
    """Several trackers as one that never fails: one that raises is dropped, with one line of warning."""

    def __init__(self, trackers: Sequence[Tracker] = ()):
        self._trackers = list(trackers)

    def add(self, tracker: Tracker) -> None:
        """One more."""
        self._trackers.append(tracker)

    def start(self, intent: Intent) -> None:
        """Pass on that a trial was launched."""
        self._call("start", intent)

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        """Pass on the new epochs of a trial, if there are any."""
        if epochs:
            self._call("epochs", intent, tuple(epochs))

    def end(self, intent: Intent, outcome: Outcome) -> None:
        """Pass on that a trial ended."""
        self._call("end", intent, outcome)

    def jobs(self, number: int) -> None:
        """Pass on how many slots have work."""
        self._call("jobs", number)

    def ranked(self, rows: Sequence[Mapping[str, str | float | None]]) -> None:
        """Pass on the leaderboard."""
        self._call("ranked", rows)

    def close(self) -> None:
        """Close all; closing again does nothing."""
        self._call("close")
        self._trackers = []

    def _call(self, method: str, *arguments: object) -> None:
        for tracker in list(self._trackers):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                self._trackers.remove(tracker)
                if method != "close":
                    with suppress(Exception):
                        tracker.close()
                _log.warning(
                    "tracker %s: %s in %s: %s; the study goes on without it",
                    type(tracker).__module__.removeprefix("wst.trackers."),
                    type(error).__name__,
                    method,
                    " ".join(str(error).split()) or "no message",
                )


def names() -> list[str]:
    """Names of all trackers, without importing any."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def check_name(name: str) -> None:
    """Refuse a name that is no tracker's.

    Raises:
        InputError: naming it.
    """
    if name not in names():
        raise InputError(f"tracker: {one_of(name, names())}")


def is_installed(name: str) -> bool:
    """Whether a tracker's library is there; it is not imported."""
    spec = importlib.util.find_spec(name) if name in LIBRARIES else None
    return name not in LIBRARIES or (spec is not None and spec.origin is not None)  # a folder has no origin


def run_id(folder: Path, name: str) -> str:
    """The id of a trial's run, or another's, in a service that holds many studies.

    It is the same whenever the study in ``folder`` goes on, wherever that was moved, and another in every
    other study: a file ``tracked-as`` in the folder has what tells them apart.
    """
    place = folder / "tracked-as"
    if not place.exists():
        with replacing(place) as aside:
            aside.write_text(uuid4().hex)
    return hashlib.sha256(f"{place.read_text()} {name}".encode()).hexdigest()[:20]


def open_tracker(name: str, folder: Path, study: str) -> Tracker:
    """Import a tracker and open it.

    Args:
        name: its name, such as ``tensorboard``.
        folder: the study's output folder, which may not be there yet.
        study: the study's name.

    Raises:
        InputError: there is no such tracker, its library is not installed, or refuses the user's settings.
    """
    check_name(name)
    try:
        tracker: Tracker = importlib.import_module(f"wst.trackers.{name}").tracker(folder, study)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(
            f"tracker {name}: expected its library (pip install 'wst[{name}]'); "
            f"found no module named {error.name!r}"
        ) from None
    except Exception as error:  # whatever a library says to the user's settings
        raise InputError(
            f"tracker {name}: expected to open it; "
            f"found {type(error).__name__}: {' '.join(str(error).split())}"
        ) from None
    return tracker
