"""What decides on a study's trials, as the driver calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from wst.records import Epoch, Intent, Outcome


class Plan(Protocol):
    """What decides on trials: :class:`wst.planning.planner.Planner`, or one trial that is given."""

    interrupted: list[Intent]

    @property
    def done(self) -> bool:
        """True once nothing runs and nothing is left to ask."""

    def ask(self) -> Intent | None:
        """The next trial to run."""

    def ask_alike(self, intent: Intent, but: Callable[[Intent], bool]) -> Intent | None:
        """A further trial with the settings of one, if any but those."""

    def ask_beside(
        self, others: Sequence[Intent], fits: Callable[[Intent], bool], searches: Callable[[str, str], bool]
    ) -> Intent | None:
        """A further trial to share a pass with some, if any."""

    def settled(self, intent: Intent) -> Outcome | None:
        """The outcome of a trial that need not run."""

    def report(self, trial_id: str, epoch: Epoch) -> bool:
        """Record a running trial's epoch; True when it should stop here."""

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        """End a running trial."""

    def finish(self, trial_id: str, outcome: Outcome) -> None:
        """Report and end a trial whose outcome is known."""

    def requeue(self, trial_id: str) -> None:
        """Put a running trial back."""
