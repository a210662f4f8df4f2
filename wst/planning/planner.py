"""What to run next: one Optuna study a cell, and the stages search -> confirm -> final.

The planner holds no state of its own that the ledger could not give back: built on a ledger's history, it
takes in every trial in the order of the asks and stands where it stood.  It knows neither Ray nor torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from wst.errors import InputError
from wst.planning.cell import LATER, Cell
from wst.planning.choice import Choice
from wst.records import EndedTrial, Epoch, Hyperparameters, Intent, Outcome, Stage
from wst.study import Study

# Seeds are shared by all cells, so that variants can be compared paired by task and seed.  Each stage has its
# own: settings are not judged under the seed that chose them.
_FIRST_SEED: dict[Stage, int] = {"search": 0, "confirm": 1001, "final": 1}

_MOST_OF_A_SEARCH = 4
"""Trials of a search that learns from its results which a pass brings to run at once."""

CountParameters = Callable[[str, Hyperparameters], int]
"""Trainable parameters, without the head, of a variant with these settings."""


def stage_seeds(study: Study) -> dict[Stage, range]:
    """The seeds of every stage; none of a stage that the study leaves out."""
    many: dict[Stage, int] = {
        "search": 1,
        "confirm": study.confirm.seeds if study.confirm else 0,
        "final": study.final.seeds if study.final else 0,
    }
    return {
        stage: range(study.seed + _FIRST_SEED[stage], study.seed + _FIRST_SEED[stage] + n)
        for stage, n in many.items()
    }


def _new_cells(study: Study, look_only: bool) -> dict[tuple[str, str], Cell]:
    """Every cell of a study by (task, variant), in the study's order."""
    cells: dict[tuple[str, str], Cell] = {}

    def cell(task: str, variant: str) -> Cell:
        if (task, variant) not in cells:
            giver = study.variants[variant].settings_from
            choice = choices.setdefault(variant, Choice(study)) if study.variants[variant].shared else None
            source = cell(task, giver) if giver else None
            cells[task, variant] = Cell(study, task, variant, seeds, source, choice, look_only)
        return cells[task, variant]

    seeds, choices = stage_seeds(study), dict[str, Choice]()
    return {pair: cell(*pair) for pair in study.cells}


class Planner:
    """Decides on every trial of a study.

    Args:
        study: what was asked for.
        intents: intents that the ledger holds already, in the order of their asks.
        ended: those among them that have ended, in the same order.
        count_parameters: counts a configuration's trainable parameters, for the study's ceiling on them;
            needed to ask for trials of a study that has one.
        look_only: nothing will be asked for, so that searches need not be taken up again.

    Raises:
        InputError: an intent is of a task or a variant that the study lacks.

    ``ask`` gives the next trial, first those that were interrupted; ``settled`` its outcome if it need not
    run; ``report`` passes on an epoch and says whether to stop; ``tell`` ends a trial.
    """

    def __init__(
        self,
        study: Study,
        intents: Sequence[Intent] = (),
        ended: Iterable[EndedTrial] = (),
        count_parameters: CountParameters | None = None,
        look_only: bool = False,
    ):
        self.study = study
        self.running: dict[str, Intent] = {}
        self.interrupted: list[Intent] = []
        """Trials that a former process began and did not end, and those to be run again; asked for first."""
        self._count_parameters = count_parameters
        self._next_ask = 0
        self.cells = _new_cells(study, look_only)
        outcomes = {trial.intent.trial_id: trial.outcome for trial in ended}
        for intent in intents:
            self._replay(intent, outcomes.get(intent.trial_id))

    def _replay(self, intent: Intent, outcome: Outcome | None) -> None:
        cell = self.cells.get((intent.task, intent.variant))
        if cell is None:
            raise InputError(
                f"study {self.study.name!r}: expected the tasks and variants of its ledger's trials; found "
                f"none of {intent.trial_id}"
            )
        self._begin(cell, intent)
        search = cell.search if intent.stage == "search" else None
        if outcome is None:
            if search:
                search.ask_again(intent.number, intent.hyperparameters)
            self.interrupted.append(intent)
        else:
            if search:
                search.add(intent.number, intent.hyperparameters, outcome, self._above_ceiling(intent))
            cell.end(EndedTrial(intent, outcome))

    def ask(self) -> Intent | None:
        """The next trial to run; None when nothing can start before a running trial ends, or all is done."""
        intent = self._next_interrupted() or next(self._later_intents(), None) or self._next_search()
        if intent is not None:
            self.running[intent.trial_id] = intent
        elif not self.running:
            assert self.done, "nothing runs and nothing can start, but the study is not done"
        return intent

    def _next_interrupted(self, wanted: Callable[[Intent], bool] = lambda _: True) -> Intent | None:
        """The first that need not wait: settings that came again end as their first trial does, after it."""
        unended = {*self.running, *(intent.trial_id for intent in self.interrupted)}
        for place, intent in enumerate(self.interrupted):
            if wanted(intent) and (intent.stage != "search" or intent.parent not in unended):
                return self.interrupted.pop(place)
        return None

    def ask_alike(self, intent: Intent) -> Intent | None:
        """A further trial of the same cell, stage and settings as ``intent``, under another seed; if any."""

        def what(one: Intent) -> tuple[object, ...]:
            return one.task, one.variant, one.stage, one.hyperparameters

        def alike(other: Intent) -> bool:
            return what(other) == what(intent)

        found = next(filter(alike, self.interrupted), None)
        if found is not None:
            self.interrupted.remove(found)
        else:
            cell = self.cells[intent.task, intent.variant]
            found = next(self._later_intents([cell], alike), None)
        if found is not None:
            self.running[found.trial_id] = found
        return found

    def ask_beside(
        self, others: Sequence[Intent], fits: Callable[[Intent], bool], searches: Callable[[str, str], bool]
    ) -> Intent | None:
        """A further trial, to share a pass with some that were asked for; None where there is none now.

        Cells that have fewest trials among them come first.  A search that learns from its results has at
        most four trials running, whose results none of them knows: with eight it would need half as many
        trials again.

        Args:
            others: the trials.
            fits: whether a trial can share their pass.
            searches: whether every trial that the search of a cell (task, variant) suggests can.
        """
        beside = Counter((other.task, other.variant) for other in others)
        running = Counter((o.task, o.variant) for o in self.running.values() if o.stage == "search")
        learns = self.study.search is not None and self.study.search.learns

        def may_search(cell: Cell) -> bool:
            few = not learns or running[cell.task, cell.variant] < _MOST_OF_A_SEARCH
            return few and searches(cell.task, cell.variant)

        cells = sorted(self.cells.values(), key=lambda cell: beside[cell.task, cell.variant])
        intent = self._next_interrupted(fits) or next(self._later_intents(cells, fits), None)
        intent = intent or self._next_search(beside, may_search)
        if intent is not None:
            self.running[intent.trial_id] = intent
        return intent

    def settled(self, intent: Intent) -> Outcome | None:
        """The outcome of a trial that was asked for and need not run; None when it must.

        Settings that the search has had already end as they ended then, at no cost (where seconds are an
        objective, its value stays); settings above the ceiling on trainable parameters fail.
        """
        if intent.stage != "search":
            return None
        first = self.cells[intent.task, intent.variant].first(intent.hyperparameters)
        if first is not None and first.intent.trial_id != intent.trial_id:
            now, search = datetime.now(UTC), self.study.search
            timed = search is not None and "train_seconds" in search.objectives
            return replace(
                first.outcome,
                attempts=0,
                train_seconds=first.outcome.train_seconds if timed else 0.0,
                eval_seconds=0.0,
                wall_seconds=0.0,
                started=now,
                ended=now,
            )
        found, most = self._parameters(intent.variant, intent.hyperparameters)
        if found > most:
            text = f"expected at most {most} trainable parameters; found {found}"
            return Outcome("failed", error_type="CeilingError", error_text=text, attempts=0)
        return None

    def report(self, trial_id: str, epoch: Epoch) -> bool:
        """Record a running trial's epoch; True when it should stop here."""
        intent = self.running[trial_id]
        cell = self.cells[intent.task, intent.variant]
        if intent.stage != "search" or cell.search is None:
            return False
        stop = cell.search.report(intent.number, epoch)
        return stop and epoch.epoch < self.study.recipe.epochs

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        """End a running trial."""
        intent = self.running.pop(trial_id)
        cell = self.cells[intent.task, intent.variant]
        if intent.stage == "search" and cell.search:
            cell.search.tell(intent.number, outcome, self._above_ceiling(intent))
        cell.end(EndedTrial(intent, outcome))

    def finish(self, trial_id: str, outcome: Outcome) -> None:
        """Report all epochs of a running trial whose outcome is known, and end it."""
        for epoch in outcome.epochs:
            self.report(trial_id, epoch)
        self.tell(trial_id, outcome)

    def requeue(self, trial_id: str) -> None:
        """Put a running trial back: it is to be run again."""
        self.interrupted.append(self.running.pop(trial_id))

    @property
    def done(self) -> bool:
        """True once nothing runs and nothing is left to ask."""
        return (
            not self.running
            and not self.interrupted
            and not any(cell.remaining for cell in self.cells.values())
        )

    def _later_intents(
        self, cells: Iterable[Cell] | None = None, wanted: Callable[[Intent], bool] = lambda _: True
    ) -> Iterator[Intent]:
        """Trials of the later stages that can begin, the latest stage first; the one taken has begun."""
        for stage in reversed(LATER):
            for cell in self.cells.values() if cells is None else cells:
                for opening in cell.openings(stage):
                    intent = cell.later_intent(stage, opening, self._next_ask)
                    if wanted(intent):
                        self._begin(cell, intent)
                        yield intent

    def _next_search(
        self, beside: Counter[tuple[str, str]] | None = None, wanted: Callable[[Cell], bool] = lambda _: True
    ) -> Intent | None:
        searching = [cell for cell in self.cells.values() if cell.searching and wanted(cell)]
        among = Counter() if beside is None else beside
        # The cell that is furthest behind: cells advance together, and few trials of one cell run at a time,
        # so that each suggestion knows as many results of its cell as it can.
        for cell in sorted(
            searching, key=lambda c: (among[c.task, c.variant], c.asked["search"] / c.searches)
        ):
            intent = self._search_intent(cell)
            if intent is not None:
                return intent
        return None

    def _search_intent(self, cell: Cell) -> Intent | None:
        def above(settings: Hyperparameters) -> bool:
            found, most = self._parameters(cell.variant, settings)
            return found > most

        intent = cell.search_intent(self._next_ask, above)
        if intent is not None:
            self._begin(cell, intent)
        return intent

    def _above_ceiling(self, intent: Intent) -> int | None:
        """Trainable parameters above the ceiling, negative below it; None without one, or a way to count."""
        search = self.study.search
        if search is None or search.max_trainable_parameters is None or self._count_parameters is None:
            return None
        found, most = self._parameters(intent.variant, intent.hyperparameters)
        return found - most

    def _parameters(self, variant: str, settings: Hyperparameters) -> tuple[int, int]:
        """(trainable parameters, ceiling on them); both 0 without a ceiling."""
        most = self.study.search.max_trainable_parameters if self.study.search else None
        if most is None:
            return 0, 0
        assert self._count_parameters is not None, "a study with a ceiling needs a way to count parameters"
        return self._count_parameters(variant, settings), most

    def _begin(self, cell: Cell, intent: Intent) -> None:
        """Note that a trial was asked for."""
        self._next_ask = max(self._next_ask, intent.ask_order + 1)
        cell.begin(intent)
