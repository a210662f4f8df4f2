"""What to run next: one Optuna study a cell, and the stages search -> confirm -> final.

The planner holds no state of its own that the ledger could not give back: built on a ledger's history, it
takes in every trial in the order of the asks and stands where it stood.  It knows neither Ray nor torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from wst.planning.cell_search import CellSearch
from wst.planning.ranking import Candidate, candidates, confirmed, front
from wst.records import EndedTrial, Epoch, Hyperparameters, Intent, Outcome, Stage, State
from wst.study import Study

STAGES: tuple[Stage, ...] = ("search", "confirm", "final")
_LATER: tuple[Stage, ...] = ("confirm", "final")

# Seeds are shared by all cells, so that variants can be compared paired by task and seed.  Each stage has its
# own: settings are not judged under the seed that chose them.
_FIRST_SEED = {"search": 0, "confirm": 1001, "final": 1}

CountParameters = Callable[[str, Hyperparameters], int]
"""Trainable parameters, without the head, of a variant with these settings."""

Opening = tuple[Candidate | None, str | None, int]
"""(candidate, its search trial, seed) of a trial of a later stage."""


@dataclass
class Cell:
    """One task x variant, and how far it is."""

    task: str
    variant: str
    search: CellSearch | None
    searches: int
    """Trials of the search that the study asks for."""
    asked: Counter[Stage] = field(default_factory=Counter)
    counts: Counter[tuple[Stage, State]] = field(default_factory=Counter)
    ended: dict[Stage, list[EndedTrial]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    begun: set[tuple[Stage, str | None, int]] = field(default_factory=set)
    """(stage, parent, seed) of every trial of the later stages."""
    known: dict[str, EndedTrial | None] = field(default_factory=dict)
    """First trial of every configuration that the search has had; None while it runs."""
    waiting: bool = False
    """The sampler suggests only what is running already; asked again when a trial of the cell has ended."""
    openings: dict[Stage, list[Opening]] = field(default_factory=dict)
    """Trials of the later stages that can begin; until a trial of the task begins or ends."""
    left: int | None = None
    """Trials that have not ended and can still come about; likewise, None where it has to be counted."""

    def count(self, stage: Stage, state: State | None = None) -> int:
        """Ended trials of a stage, of one state or of any."""
        return len(self.ended[stage]) if state is None else self.counts[stage, state]

    @property
    def searched(self) -> bool:
        """True once every trial of the search has ended."""
        return self.count("search") >= self.searches


class Planner:
    """Decides on every trial of a study.

    Args:
        study: what was asked for.
        intents: intents that the ledger holds already, in the order of their asks.
        ended: those among them that have ended, in the same order.
        count_parameters: counts a configuration's trainable parameters, for the study's ceiling on them;
            needed to ask for trials of a study that has one.

    ``ask`` gives the next trial, first those that were interrupted; ``settled`` its outcome if it need not
    run; ``report`` passes on an epoch and says whether to stop; ``tell`` ends a trial.
    """

    def __init__(
        self,
        study: Study,
        intents: Sequence[Intent] = (),
        ended: Iterable[EndedTrial] = (),
        count_parameters: CountParameters | None = None,
    ):
        self.study = study
        self.running: dict[str, Intent] = {}
        self.interrupted: list[Intent] = []
        """Trials that a former process began and did not end, and those to be run again; asked for first."""
        self._count_parameters = count_parameters
        self._next_ask = 0
        self._chosen: dict[tuple[str, str, Stage], list[Candidate]] = {}
        """Candidates of a stage by the cell that searched them; as long as they hold."""
        self.cells = {pair: self._new_cell(*pair) for pair in study.cells}
        outcomes = {trial.intent.trial_id: trial.outcome for trial in ended}
        for intent in intents:
            self._replay(intent, outcomes.get(intent.trial_id))

    def _new_cell(self, task: str, variant: str) -> Cell:
        searches = self.study.search_trials(variant)
        return Cell(task, variant, CellSearch(self.study, task, variant) if searches else None, searches)

    def _replay(self, intent: Intent, outcome: Outcome | None) -> None:
        cell = self.cells[intent.task, intent.variant]
        self._begin(cell, intent)
        search = cell.search if intent.stage == "search" else None
        if outcome is None:
            if search:
                search.ask_again(intent.number, intent.hyperparameters)
            self.interrupted.append(intent)
        else:
            if search:
                search.add(intent.number, intent.hyperparameters, outcome)
            self._end(cell, EndedTrial(intent, outcome))

    def ask(self) -> Intent | None:
        """The next trial to run; None when nothing can start before a running trial ends, or all is done."""
        intent = self._next_interrupted() or next(self._later_intents(), None) or self._next_search()
        if intent is not None:
            self.running[intent.trial_id] = intent
        elif not self.running:
            assert self.done, "nothing runs and nothing can start, but the study is not done"
        return intent

    def _next_interrupted(self) -> Intent | None:
        """The first that need not wait: settings that came again end as their first trial does, after it."""
        unended = {*self.running, *(intent.trial_id for intent in self.interrupted)}
        for place, intent in enumerate(self.interrupted):
            if intent.stage != "search" or intent.parent not in unended:
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

    def settled(self, intent: Intent) -> Outcome | None:
        """The outcome of a trial that was asked for and need not run; None when it must.

        Settings that the search has had already end as they ended then, at no cost (where seconds are an
        objective, its value stays); settings above the ceiling on trainable parameters fail.
        """
        if intent.stage != "search":
            return None
        first = self.cells[intent.task, intent.variant].known.get(_key(intent.hyperparameters))
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
            cell.search.tell(intent.number, outcome)
        self._end(cell, EndedTrial(intent, outcome))

    def _changed(self, task: str) -> None:
        """Forget what was worked out about a task's cells, whose variants may wait for one another."""
        for variant in self.study.variants:
            cell = self.cells[task, variant]
            cell.openings.clear()
            cell.left = None

    def _end(self, cell: Cell, ended: EndedTrial) -> None:
        """Note that a trial has ended."""
        intent, outcome = ended.intent, ended.outcome
        if intent.stage == "search":
            key = _key(intent.hyperparameters)
            cell.known[key] = cell.known.get(key) or ended
            cell.waiting = False
            self._chosen.pop((cell.task, cell.variant, "confirm"), None)
        self._chosen.pop((cell.task, cell.variant, "final"), None)
        cell.ended[intent.stage].append(ended)
        cell.counts[intent.stage, outcome.state] += 1
        self._changed(cell.task)

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
        return not self.running and not self.interrupted and not any(map(self.remaining, self.cells.values()))

    def planned(self, cell: Cell, stage: Stage) -> int:
        """Trials of a stage that the cell has had, and will have as far as is known."""
        if stage == "search":
            return max(cell.searches, cell.asked["search"])
        return cell.asked[stage] + self._missing(cell, stage)

    def remaining(self, cell: Cell) -> int:
        """Trials of a cell that have not ended and can still come about."""
        if cell.left is None:
            cell.left = sum(self.planned(cell, stage) - cell.count(stage) for stage in STAGES)
        return cell.left

    def best(self, cell: Cell) -> Candidate | None:
        """The winner of a cell's search so far: by the confirming trials where these are complete."""
        stage: Stage = "final" if self._ready(cell, "final") else "confirm"
        return next(iter(self._candidates(cell, stage)), None)

    def chosen(self, cell: Cell) -> list[tuple[Hyperparameters, Candidate | None]]:
        """The settings that go into a cell's final stage, with the candidate they come from; none as long as
        the earlier stages go on."""
        source = self._source(cell)
        if source is None:
            return [(self.study.variants[cell.variant].settings(cell.task), None)]
        if not self._ready(source, "final"):
            return []
        return [(self._settings(cell, source, one), one) for one in self._candidates(source, "final")]

    def _source(self, cell: Cell) -> Cell | None:
        """The cell whose search gives this cell's settings; None where they are fixed."""
        variant = self.study.variants[cell.variant]
        if variant.settings_from is not None:
            return self.cells[cell.task, variant.settings_from]
        return cell if variant.space is not None else None

    def _ready(self, cell: Cell, stage: Stage) -> bool:
        """Whether what comes before a stage has ended, in the cell that is searched."""
        if not cell.searched:
            return False
        return stage == "confirm" or self.study.confirm is None or self._pending(cell, "confirm") == 0

    def _pending(self, cell: Cell, stage: Stage) -> int:
        return self._missing(cell, stage) + cell.asked[stage] - cell.count(stage)

    def _candidates(self, cell: Cell, stage: Stage) -> list[Candidate]:
        """Candidates that go into a stage, of a cell that is searched; the winner first."""
        key = cell.task, cell.variant, stage
        if key not in self._chosen:
            study = self.study
            objectives = study.search.objectives if study.search else ("val_top1",)
            found = candidates(cell.ended["search"], objectives, study.ties)
            if stage == "confirm" and study.confirm is not None:
                found = (front(found) if len(objectives) > 1 else found)[: study.confirm.top]
            elif stage == "final" and study.confirm is not None:
                asked_for = self._candidates(cell, "confirm")
                found = front(confirmed(asked_for, cell.ended["confirm"], study.ties))
            else:
                found = front(found)
            self._chosen[key] = found
        return self._chosen[key]

    def _seeds(self, stage: Stage) -> range:
        part = self.study.confirm if stage == "confirm" else self.study.final
        first = self.study.seed + _FIRST_SEED[stage]
        return range(first, first + (part.seeds if part else 0))

    def _open(self, cell: Cell, stage: Stage) -> list[Opening]:
        """Trials of a stage that can begin and have not."""
        if stage not in cell.openings:
            cell.openings[stage] = self._find_open(cell, stage)
        return cell.openings[stage]

    def _find_open(self, cell: Cell, stage: Stage) -> list[Opening]:
        source = self._source(cell)
        if source is None:
            found: list[Candidate | None] = [None] if stage == "final" else []
        elif (stage == "confirm" and source is not cell) or not self._ready(source, stage):
            found = []
        else:
            found = list(self._candidates(source, stage))
        wanted = [
            (one, one.trial.intent.trial_id if one else None, seed)
            for one in found
            for seed in self._seeds(stage)
        ]
        return [entry for entry in wanted if (stage, entry[1], entry[2]) not in cell.begun]

    def _missing(self, cell: Cell, stage: Stage) -> int:
        """Trials of a stage yet to be asked for; as many as are expected while that is not known."""
        source, seeds = self._source(cell), len(self._seeds(stage))
        if not seeds or (stage == "confirm" and source is not cell):
            return 0
        if source is None or self._ready(source, stage):
            return len(self._open(cell, stage))
        top = self.study.confirm.top if self.study.confirm and stage == "confirm" else 1
        return min(top, source.searches) * seeds

    def _later_intents(
        self, cells: Iterable[Cell] | None = None, wanted: Callable[[Intent], bool] = lambda _: True
    ) -> Iterator[Intent]:
        """Trials of the later stages that can begin, the latest stage first; the one taken has begun."""
        for stage in reversed(_LATER):
            if not self._seeds(stage):
                continue
            for cell in self.cells.values() if cells is None else cells:
                for candidate, parent, seed in self._open(cell, stage):
                    settings, reason = self._reasoned(cell, stage, candidate)
                    intent = self._intent(cell, stage, seed, settings, parent, reason)
                    if wanted(intent):
                        self._begin(cell, intent)
                        yield intent

    def _settings(self, cell: Cell, source: Cell, candidate: Candidate) -> Hyperparameters:
        settings = dict(candidate.trial.intent.hyperparameters)
        if source is not cell:
            for name in self.study.variants[source.variant].fixed:
                settings.pop(name)
            settings |= self.study.variants[cell.variant].fixed
        return settings

    def _reasoned(self, cell: Cell, stage: Stage, candidate: Candidate | None) -> tuple[Hyperparameters, str]:
        source = self._source(cell)
        if source is None or candidate is None:
            return self.study.variants[cell.variant].settings(cell.task), "fixed in the study"
        settings = self._settings(cell, source, candidate)
        if stage == "confirm":
            place = self._candidates(source, stage).index(candidate) + 1
            return settings, f"number {place} of {source.count('search')} on val"
        several = self.study.search is not None and len(self.study.search.objectives) > 1
        reason = f"{'on the front' if several else 'best'} of {source.count('search')} on val"
        if self.study.confirm:
            reason += f", by the mean of {self.study.confirm.seeds} more seeds"
        return settings, reason if source is cell else f"settings found for {source.variant} ({reason})"

    def _next_search(self) -> Intent | None:
        searching = [c for c in self.cells.values() if c.asked["search"] < c.searches and not c.waiting]
        # The cell that is furthest behind: cells advance together, and few trials of one cell run at a time,
        # so that each suggestion knows as many results of its cell as it can.
        for cell in sorted(searching, key=lambda c: c.asked["search"] / c.searches):
            intent = self._search_intent(cell)
            if intent is not None:
                return intent
        return None

    def _search_intent(self, cell: Cell) -> Intent | None:
        assert cell.search is not None
        variant, number = self.study.variants[cell.variant], cell.asked["search"]

        def complete(settings: Hyperparameters) -> Hyperparameters:
            return self.study.recipe.complete({**variant.fixed, **settings})

        def refused(settings: Hyperparameters) -> bool:
            found, most = self._parameters(cell.variant, complete(settings))
            return _key(complete(settings)) in cell.known or found > most

        settings, reason = cell.search.ask(number, refused)
        key, parent = _key(complete(settings)), None
        if key in cell.known:
            first = cell.known[key]
            if first is None:
                cell.search.withdraw(number)
                cell.waiting = True
                return None
            parent = first.intent.trial_id
            reason = f"settings of {parent} again, which is not run twice"
        intent = self._intent(cell, "search", self.study.seed, complete(settings), parent, reason)
        self._begin(cell, intent)
        return intent

    def _parameters(self, variant: str, settings: Hyperparameters) -> tuple[int, int]:
        """(trainable parameters, ceiling on them); both 0 without a ceiling."""
        most = self.study.search.max_trainable_parameters if self.study.search else None
        if most is None:
            return 0, 0
        assert self._count_parameters is not None, "a study with a ceiling needs a way to count parameters"
        return self._count_parameters(variant, settings), most

    def _intent(
        self, cell: Cell, stage: Stage, seed: int, settings: Hyperparameters, parent: str | None, reason: str
    ) -> Intent:
        number = cell.asked[stage]
        return Intent(
            trial_id=f"{cell.task}.{cell.variant}.{stage}.{number:04d}",
            task=cell.task,
            variant=cell.variant,
            stage=stage,
            number=number,
            ask_order=self._next_ask,
            seed=seed,
            hyperparameters=self.study.recipe.complete(settings),
            parent=parent,
            reason=reason,
        )

    def _begin(self, cell: Cell, intent: Intent) -> None:
        """Note that a trial was asked for."""
        cell.asked[intent.stage] += 1
        self._next_ask = max(self._next_ask, intent.ask_order + 1)
        if intent.stage == "search":
            cell.known.setdefault(_key(intent.hyperparameters), None)
        else:
            cell.begun.add((intent.stage, intent.parent, intent.seed))
        self._changed(cell.task)


def _key(hyperparameters: Hyperparameters) -> str:
    return repr(sorted(hyperparameters.items()))
