"""What searches chose: each cell for itself, or those of all tasks together where they share settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from wst.planning.ranking import Candidate, candidates, confirmed, front, over_tasks
from wst.records import EndedTrial, Intent, Stage
from wst.study import Study

if TYPE_CHECKING:
    from wst.planning.cell import Cell

Later = Literal["confirm", "final"]
_Found = TypeVar("_Found")


class Once:
    """What was worked out, each with the version of what it was worked out from."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Hashable, Any]] = {}

    def __call__(self, what: Hashable, version: Hashable, find: Callable[[], _Found]) -> _Found:
        """What ``find`` gives, worked out once a version."""
        kept = self._kept.get(what)
        if kept is None or kept[0] != version:
            kept = self._kept[what] = version, find()
        found: _Found = kept[1]
        return found


class Choice:
    """The choice among the settings that one or more cells have searched.

    Args:
        study: what was asked for.

    A cell joins when it is made, and tells what happens to its trials.  Cells that share a choice search the
    same settings under the same numbers; it is made once all of them have ended a stage, by the means over
    their tasks.

    Attributes:
        cells: those that have joined: one alone, or those of all tasks of a variant with shared settings.
        changes: a number that grows with every change of one of them.
    """

    def __init__(self, study: Study):
        self.cells: list[Cell] = []
        self.changes = 0
        self._study = study
        self._ended: Counter[Stage] = Counter()
        self._searching: dict[int, Intent] = {}
        """The first of the search's trials of every number."""
        self._once = Once()

    def begin(self, intent: Intent) -> None:
        """Note that a trial was asked for."""
        if intent.stage == "search":
            self._searching.setdefault(intent.number, intent)
        self.changes += 1

    def end(self, trial: EndedTrial) -> None:
        """Note that a trial has ended."""
        self._ended[trial.intent.stage] += 1
        self.changes += 1

    def alike(self, number: int) -> Intent | None:
        """The trial of the search with whose settings a cell's trial of this number begins; None for any."""
        return self._searching.get(number)

    def ready(self, stage: Later) -> bool:
        """Whether what comes before a stage has ended, in all of the cells."""
        return self._once(("ready", stage), self.changes, lambda: self._is_ready(stage))

    def _is_ready(self, stage: Later) -> bool:
        if not all(cell.searched for cell in self.cells):
            return False
        if stage == "confirm" or self._study.confirm is None:
            return True
        return not any(cell.pending("confirm") for cell in self.cells)

    def candidates(self, stage: Later) -> dict[str, list[Candidate]]:
        """By task, the candidates that go into a stage, the winner first: the same settings in each.

        They are those of the trials that have ended so far, whether it is ``ready`` or not.
        """
        # Trials that begin change nothing here, nor do final ones; and a front is dear to find.
        version = (self._ended["search"], self._ended["confirm"] if stage == "final" else 0)
        return self._once(("candidates", stage), version, lambda: self._find_candidates(stage))

    def _find_candidates(self, stage: Later) -> dict[str, list[Candidate]]:
        study, cells = self._study, self.cells
        if stage == "final" and study.confirm is not None:
            before = self.candidates("confirm")
            own = [confirmed(before[cell.task], cell.ended["confirm"], study.ties) for cell in cells]
            return self._by_task([front(found) for found in over_tasks(own, study.ties)])
        objectives = study.search.objectives if study.search else ("val_top1",)
        own = [candidates(cell.ended["search"], objectives, study.ties) for cell in cells]
        ranked = over_tasks(own, study.ties)
        if stage == "confirm" and study.confirm is not None:
            several, top = len(objectives) > 1, study.confirm.top
            return self._by_task([(front(found) if several else found)[:top] for found in ranked])
        return self._by_task([front(found) for found in ranked])

    def _by_task(self, found: list[list[Candidate]]) -> dict[str, list[Candidate]]:
        return {cell.task: own for cell, own in zip(self.cells, found, strict=True)}
