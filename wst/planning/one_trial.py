"""A plan of one trial whose settings were decided on elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wst.records import Epoch, Intent, Outcome


class OneTrial:
    """Runs a given trial to its end; what a driver asks of a :class:`wst.planning.planner.Planner`.

    Args:
        intent: the trial.

    Attributes:
        outcome: how it ended; None before.
    """

    def __init__(self, intent: Intent):
        self.interrupted: list[Intent] = []
        self.outcome: Outcome | None = None
        self._waiting = [intent]
        self._intent = intent

    @property
    def done(self) -> bool:
        """True once the trial has ended."""
        return self.outcome is not None

    def ask(self) -> Intent | None:
        """The trial, if it is not running."""
        return self._waiting.pop() if self._waiting else None

    def ask_alike(self, intent: Intent, but: Callable[[Intent], bool]) -> Intent | None:
        """None: there is no other trial."""
        return None

    def ask_beside(
        self, others: Sequence[Intent], fits: Callable[[Intent], bool], searches: Callable[[str, str], bool]
    ) -> Intent | None:
        """None, likewise."""
        return None

    def settled(self, intent: Intent) -> Outcome | None:
        """None: it has to run."""
        return None

    def report(self, trial_id: str, epoch: Epoch) -> bool:
        """Never stops it."""
        return False

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        """Note how it ended."""
        self.outcome = outcome

    def finish(self, trial_id: str, outcome: Outcome) -> None:
        """Note how it ended."""
        self.outcome = outcome

    def requeue(self, trial_id: str) -> None:
        """It is to be run again."""
        self._waiting.append(self._intent)
