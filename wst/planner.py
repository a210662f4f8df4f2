"""What to run next: one Optuna study a cell, and the stages search -> final.

The planner holds no state of its own that the ledger could not give back: built on a ledger's history, it
replays every ask, report and tell in their order and stands where it stood.  It knows neither Ray nor torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from wst.grid import shuffled
from wst.records import EndedTrial, Epoch, Intent, Outcome, Stage, State, stable_seed
from wst.study import (
    TPE,
    Distribution,
    Float,
    Grid,
    Hyperparameters,
    Int,
    Search,
    Study,
    SuccessiveHalving,
    Variant,
)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def distribution(space: Distribution) -> BaseDistribution:
    """Optuna's form of an entry of a search space."""
    if isinstance(space, Float):
        return FloatDistribution(space.low, space.high, log=space.log, step=space.step)
    if isinstance(space, Int):
        return IntDistribution(space.low, space.high, log=space.log, step=space.step)
    return CategoricalDistribution(space.choices)


def _sampler(search: Search, seed: int) -> optuna.samplers.BaseSampler:
    if isinstance(search.sampler, TPE):
        return optuna.samplers.TPESampler(seed=seed, **search.sampler.model_dump(exclude={"type"}))
    return optuna.samplers.RandomSampler(seed=seed)  # a grid is enqueued


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    if isinstance(search.pruner, SuccessiveHalving):
        return optuna.pruners.SuccessiveHalvingPruner(**search.pruner.model_dump(exclude={"type"}))
    return optuna.pruners.NopPruner()


class _SearchStage:
    """The search of one cell: an Optuna study in memory."""

    def __init__(self, study_name: str, cell: tuple[str, str], variant: Variant, search: Search, seed: int):
        self._cell, self._search, self._seed = cell, search, seed
        self._space = {name: distribution(space) for name, space in (variant.space or {}).items()}
        self._optuna = optuna.create_study(
            study_name=".".join([study_name, *cell]), direction="maximize", pruner=_pruner(search)
        )
        self._trials: dict[int, optuna.Trial] = {}
        self._grid = (
            shuffled(variant.space or {}, search.sampler.points, stable_seed(seed, *cell))
            if isinstance(search.sampler, Grid)
            else []
        )
        start = (variant.warm_start or {}).get(cell[0])
        self.warm_start = {name: start[name] for name in self._space if name in start} if start else None

    def ask(self, number: int) -> Hyperparameters:
        """Suggest.  The sampler is seeded afresh for each ask, so a replay need not restore its state."""
        if number == 0 and self.warm_start:
            self._optuna.enqueue_trial(self.warm_start)
        if self._grid:
            self._optuna.enqueue_trial(self._grid[number])
        self._optuna.sampler = _sampler(self._search, stable_seed(self._seed, *self._cell, number))
        self._trials[number] = self._optuna.ask(self._space)
        return self._trials[number].params

    def ask_again(self, number: int, hyperparameters: Hyperparameters) -> None:
        """Replay an ask whose answer is known."""
        self._optuna.sampler = optuna.samplers.RandomSampler(seed=0)  # cheap; its suggestion is not used
        self._optuna.enqueue_trial({name: hyperparameters[name] for name in self._space})
        self._trials[number] = self._optuna.ask(self._space)

    def report(self, number: int, epoch: Epoch) -> bool:
        """Record a value; True when the pruner would stop the trial."""
        if epoch.val_top1 is None:
            return False
        self._trials[number].report(epoch.val_top1, epoch.epoch)
        return self._trials[number].should_prune()

    def tell(self, number: int, outcome: Outcome) -> None:
        trial = self._trials.pop(number)
        if outcome.state == "completed":
            self._optuna.tell(trial, outcome.epochs[-1].val_top1)
        else:
            self._optuna.tell(
                trial, state=TrialState.PRUNED if outcome.state == "pruned" else TrialState.FAIL
            )


@dataclass
class Cell:
    """One task x variant, and how far it is."""

    task: str
    variant: str
    planned: dict[Stage, int]
    asked: dict[Stage, int] = field(default_factory=lambda: {"search": 0, "final": 0})
    ended: list[EndedTrial] = field(default_factory=list)
    search: _SearchStage | None = None

    def count(self, stage: Stage, state: State | None = None) -> int:
        """Ended trials of a stage, of one state or of any."""
        return sum(t.intent.stage == stage and state in (None, t.outcome.state) for t in self.ended)

    @property
    def searched(self) -> bool:
        """True once every trial of the search has ended."""
        return self.count("search") == self.planned["search"]

    def best(self) -> EndedTrial | None:
        """The search's winner: highest val200 accuracy after the last epoch, of the completed trials.

        val200 is coarse, half a point an image, so ties are common; they go to the lower val200 loss, then to
        the earlier trial.
        """
        completed = [t for t in self.ended if t.intent.stage == "search" and t.outcome.state == "completed"]

        def rank(trial: EndedTrial) -> tuple[float, float, int]:
            last = trial.outcome.epochs[-1]
            assert last.val_top1 is not None and last.val_loss is not None
            return -last.val_top1, last.val_loss, trial.intent.number

        return min(completed, key=rank, default=None)


class Planner:
    """Decides on every trial of a study.

    Args:
        study: what was asked for.
        intents: intents that the ledger holds already, in the order of their asks.
        ended: those among them that have ended, in the same order.

    ``ask`` gives the next trial, first those that were interrupted; ``report`` passes on an epoch and says
    whether to stop; ``tell`` ends a trial.
    """

    def __init__(self, study: Study, intents: Sequence[Intent] = (), ended: Iterable[EndedTrial] = ()):
        self.study = study
        self.running: dict[str, Intent] = {}
        self.cells = {pair: self._new_cell(*pair) for pair in study.cells}
        self.interrupted: list[Intent] = []
        """Trials that a former process began and did not end; they are asked for first."""
        self._next_ask = 0
        outcomes = {trial.intent.trial_id: trial.outcome for trial in ended}
        for intent in intents:
            self._replay(intent, outcomes.get(intent.trial_id))

    def _new_cell(self, task: str, variant_name: str) -> Cell:
        study, variant = self.study, self.study.variants[variant_name]
        searches = study.search is not None and variant.space is not None
        cell = Cell(
            task,
            variant_name,
            planned={
                "search": study.search_trials(variant_name),
                "final": study.final.seeds if study.final else 0,
            },
        )
        if study.search and searches:
            cell.search = _SearchStage(study.name, (task, variant_name), variant, study.search, study.seed)
        return cell

    def _replay(self, intent: Intent, outcome: Outcome | None) -> None:
        cell = self.cells[intent.task, intent.variant]
        cell.asked[intent.stage] += 1
        self._next_ask = max(self._next_ask, intent.ask_order + 1)
        if intent.stage == "search" and cell.search:
            cell.search.ask_again(intent.number, intent.hyperparameters)
        if outcome is None:
            self.interrupted.append(intent)
            return
        self.running[intent.trial_id] = intent
        for epoch in outcome.epochs:
            self.report(intent.trial_id, epoch)
        self.tell(intent.trial_id, outcome)

    def ask(self) -> Intent | None:
        """The next trial to run; None when nothing can start before a running trial ends, or all is done."""
        intent = self.interrupted.pop(0) if self.interrupted else self._next_final() or self._next_search()
        if intent is not None:
            self.running[intent.trial_id] = intent
        elif not self.running:
            assert self.done, "nothing runs and nothing can start, but the study is not done"
        return intent

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
        cell.ended.append(EndedTrial(intent, outcome))

    @property
    def done(self) -> bool:
        """True once nothing runs and nothing is left to ask."""
        return not self.running and not self.interrupted and not any(map(self.remaining, self.cells.values()))

    def remaining(self, cell: Cell) -> int:
        """Trials of a cell that have not ended and can still come about."""
        searching = cell.planned["search"] - cell.count("search")
        final = cell.planned["final"] - cell.count("final") if self._finals_possible(cell) else 0
        return searching + final

    def _source(self, cell: Cell) -> Cell | None:
        """The cell whose search gives this cell's final settings; None where they are fixed."""
        variant = self.study.variants[cell.variant]
        if variant.settings_from is not None:
            return self.cells[cell.task, variant.settings_from]
        return cell if variant.space is not None else None

    def _finals_possible(self, cell: Cell) -> bool:
        source = self._source(cell)
        return source is None or not source.searched or source.best() is not None

    def _next_final(self) -> Intent | None:
        for cell in self.cells.values():
            number = cell.asked["final"]
            source = self._source(cell)
            if number >= cell.planned["final"] or (source is not None and not source.searched):
                continue
            variant = self.study.variants[cell.variant]
            if source is None:
                settings, parent, reason = variant.settings(cell.task), None, "fixed in the study"
            else:
                best = source.best()
                if best is None:
                    continue
                parent = best.intent.trial_id
                reason = f"best of {source.planned['search']} on val200"
                settings = dict(best.intent.hyperparameters)
                if source is not cell:
                    for name in self.study.variants[source.variant].fixed:
                        settings.pop(name)
                    settings |= variant.fixed
                    reason = f"settings found for {source.variant} ({reason})"
            # Seeds are shared by all cells, so that variants can be compared paired by task and seed; none is
            # the search's, under which the settings were chosen.
            return self._intent(cell, "final", self.study.seed + 1 + number, settings, parent, reason)
        return None

    def _next_search(self) -> Intent | None:
        open_cells = [c for c in self.cells.values() if c.search and c.asked["search"] < c.planned["search"]]
        if not open_cells:
            return None
        # The cell that is furthest behind: cells advance together, and few trials of one cell run at a time,
        # so that each suggestion knows as many results of its cell as it can.
        cell = min(open_cells, key=lambda c: c.asked["search"] / c.planned["search"])
        assert cell.search is not None
        number = cell.asked["search"]
        settings = {**self.study.variants[cell.variant].fixed, **cell.search.ask(number)}
        warm = number == 0 and cell.search.warm_start
        reason = "warm start from given settings" if warm else "suggested by the sampler"
        return self._intent(cell, "search", self.study.seed, settings, None, reason)

    def _intent(
        self, cell: Cell, stage: Stage, seed: int, settings: Hyperparameters, parent: str | None, reason: str
    ) -> Intent:
        number = cell.asked[stage]
        intent = Intent(
            trial_id=f"{cell.task}.{cell.variant}.{stage}.{number:04d}",
            task=cell.task,
            variant=cell.variant,
            stage=stage,
            number=number,
            ask_order=self._next_ask,
            seed=seed,
            hyperparameters={"drop_path": 0.0, **settings},
            parent=parent,
            reason=reason,
        )
        cell.asked[stage] += 1
        self._next_ask += 1
        return intent
