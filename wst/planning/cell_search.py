"""The search of one cell, an Optuna study in memory: suggest, report, tell, and all again in a replay."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import TrialState

from wst.planning.ranking import objective_values
from wst.records import Epoch, Hyperparameters, Outcome, Value, stable_seed
from wst.study import Study
from wst.study.search import GP, NSGA2, TPE, Grid, Median, Objective, Search, SuccessiveHalving
from wst.study.space import Distribution, Float, Int, Space, applies, brought, gathered, grid, plain, spread

optuna.logging.set_verbosity(optuna.logging.WARNING)

_CEILING = "trainable parameters"
"""Name of the constraint."""
_STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_TRIES = 20
"""Suggestions for one trial before one that was refused is let pass."""


def distribution(space: Distribution) -> BaseDistribution:
    """Optuna's form of an entry of a search space."""
    if isinstance(space, Float):
        return FloatDistribution(space.low, space.high, log=space.log, step=space.step)
    if isinstance(space, Int):
        return IntDistribution(space.low, space.high, log=space.log, step=space.step)
    return CategoricalDistribution([plain(choice) for choice in space.choices])


def _suggest(trial: optuna.Trial, name: str, entry: Distribution) -> Value:
    if isinstance(entry, Float):
        return trial.suggest_float(name, entry.low, entry.high, log=entry.log, step=entry.step)
    if isinstance(entry, Int):
        return trial.suggest_int(name, entry.low, entry.high, log=entry.log, step=entry.step)
    chosen = trial.suggest_categorical(name, [plain(choice) for choice in entry.choices])
    return next(choice for choice in entry.choices if plain(choice) == chosen)


class _OnGrid(optuna.samplers.BaseSampler):
    """A sampler whose steps are the space's: Optuna's are sums of binary fractions."""

    def __init__(self, inner: optuna.samplers.BaseSampler, space: Space):
        self.inner, self._space = inner, space

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the sampler says."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Values for several hyperparameters together."""
        found = self.inner.sample_relative(study, trial, search_space)
        return {name: self._brought(name, value) for name, value in found.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value for one hyperparameter."""
        found = self.inner.sample_independent(study, trial, param_name, param_distribution)
        return self._brought(param_name, found)

    def _brought(self, name: str, value: Any) -> Any:
        entry = self._space[name]
        return entry.brought(value) if isinstance(entry, Float) else value

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Passed on."""
        self.inner.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        state: TrialState,
        values: Any,
    ) -> None:
        """Passed on."""
        self.inner.after_trial(study, trial, state, values)


def _sampler(search: Search, seed: int) -> optuna.samplers.BaseSampler:
    options = search.sampler.model_dump(exclude={"type"})
    if isinstance(search.sampler, TPE):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # about group
            return optuna.samplers.TPESampler(seed=seed, **options)
    if isinstance(search.sampler, GP):
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False, **options)
    if isinstance(search.sampler, NSGA2):
        return optuna.samplers.NSGAIISampler(seed=seed, **options)
    return optuna.samplers.RandomSampler(seed=seed)  # also for a grid, whose points are enqueued


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    if isinstance(search.pruner, SuccessiveHalving):
        return optuna.pruners.SuccessiveHalvingPruner(**search.pruner.model_dump(exclude={"type"}))
    if isinstance(search.pruner, Median):
        return optuna.pruners.MedianPruner(
            n_startup_trials=search.pruner.n_startup_trials,
            n_warmup_steps=search.pruner.n_warmup_epochs,
            n_min_trials=search.pruner.n_min_trials,
        )
    return optuna.pruners.NopPruner()


def _noted(search: Search, decisions: Iterable[int]) -> dict[str, int]:
    """What the pruner notes down with a trial: the name of each note, and the epoch whose value it holds.

    Found by watching it with a trial that is never stopped, as the only one never is.
    """
    study = optuna.create_study(direction=StudyDirection.MAXIMIZE, pruner=_pruner(search))
    trial = study.ask()
    for epoch in sorted(decisions):
        trial.report(float(epoch), epoch)
        trial.should_prune()
    return {name: int(value) for name, value in study.get_trials()[0].system_attrs.items()}


class CellSearch:
    """The search of one cell.

    Args:
        study: what was asked for; it has a search.
        task: the cell's task.
        variant: the cell's variant, which has a space.
    """

    def __init__(self, study: Study, task: str, variant: str):
        assert study.search is not None
        # Settings that tasks share come in the same order on each.
        where = (variant,) if study.variants[variant].shared else (task, variant)
        self._search, self._seeds = study.search, (study.seed, *where)
        self._space = study.variants[variant].space or {}
        self._fixed = study.variants[variant].fixed
        self._distributions = {name: distribution(entry) for name, entry in self._space.items()}
        self._decisions = frozenset(study.report_epochs())
        sampler = study.search.sampler
        self._points = study.variants[variant].first_points(task)
        """Settings that are tried before any suggestion."""
        self._grid: list[Hyperparameters] = []
        if isinstance(sampler, Grid):
            self._points = []
            self._grid = grid(self._space, sampler.points, self._fixed, stable_seed(*self._seeds))
        self._several = len(study.search.objectives) > 1
        costs = len(study.search.objectives) - 1
        self._optuna = optuna.create_study(
            study_name=f"{study.name}.{task}.{variant}",
            directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * costs],
            pruner=_pruner(study.search),
        )
        self._noted = _noted(study.search, study.report_epochs())
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self, number: int, refused: Callable[[Hyperparameters], bool]) -> tuple[Hyperparameters, str]:
        """Settings for a trial, and why these.

        The sampler is made and seeded afresh for each ask, so that a replay need not restore its state.  A
        suggestion that is ``refused`` is asked for again, a few times.
        """
        if self._grid:
            return self._begin(number, self._grid[number]), "a point of the grid"
        if number < len(self._points):
            return self._begin(number, self._points[number]), "warm start from given settings"
        for attempt in range(_TRIES):
            settings = self._begin(number, None, attempt)
            if not refused(settings):
                break
            if attempt < _TRIES - 1:
                self.withdraw(number)
        return settings, "suggested by the sampler"

    def ask_again(self, number: int, hyperparameters: Hyperparameters) -> None:
        """Replay an ask whose answer is known, of a trial that has not ended."""
        self._begin(number, self._searched(hyperparameters), replay=True)

    def add(
        self,
        number: int,
        hyperparameters: Hyperparameters,
        outcome: Outcome,
        above_ceiling: int | None = None,
    ) -> None:
        """Replay a trial that has ended: leaves the Optuna study as asking, reporting and telling did.

        At once where the sampler keeps nothing with a trial; a study has thousands of them.
        """
        if isinstance(self._search.sampler, NSGA2):
            self.ask_again(number, hyperparameters)
            for epoch in outcome.epochs:
                self.report(number, epoch)
            self.tell(number, outcome, above_ceiling)
            return
        told = () if self._several else outcome.epochs
        curve = {epoch.epoch: _value(epoch) for epoch in told if epoch.val_top1 is not None}
        params = {name: plain(value) for name, value in self._searched(hyperparameters).items()}
        state, values = _told(self._search.objectives, outcome, above_ceiling)
        if state == TrialState.PRUNED and curve and not math.isnan(curve[max(curve)]):
            values = [curve[max(curve)]]  # as Optuna has it
        self._optuna.add_trial(
            optuna.trial.create_trial(
                state=state,
                values=values,
                params=params,
                distributions={name: self._distributions[name] for name in params},
                intermediate_values=curve,
                system_attrs={
                    name: curve[at]
                    for name, at in self._noted.items()
                    if at in curve and not math.isnan(curve[at])  # as Optuna notes
                },
                constraints=None if above_ceiling is None else {_CEILING: above_ceiling},
            )
        )

    def _searched(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Those hyperparameters of a configuration that were suggested, each by its place."""
        settings, hyperparameters = spread(self._fixed), brought(hyperparameters, self._space)
        for name, entry in self._space.items():
            # An older ledger may lack one whose condition names a step that Optuna missed by a last digit.
            if applies(entry, settings) and name in hyperparameters:
                settings[name] = hyperparameters[name]
        return {name: settings[name] for name in self._space if name in settings}

    def withdraw(self, number: int) -> None:
        """Take back an ask: its trial will not run."""
        self._optuna.tell(self._trials.pop(number), state=TrialState.FAIL)

    def _begin(
        self, number: int, given: Hyperparameters | None, attempt: int = 0, replay: bool = False
    ) -> Hyperparameters:
        if given is not None:
            self._optuna.enqueue_trial({name: plain(value) for name, value in given.items()})
        genetic = isinstance(self._search.sampler, NSGA2)
        if replay and not genetic:
            self._optuna.sampler = optuna.samplers.RandomSampler(seed=0)  # cheap: nothing is left to suggest
        else:
            parts = (*self._seeds, number) if attempt == 0 else (*self._seeds, number, attempt)
            self._optuna.sampler = _OnGrid(_sampler(self._search, stable_seed(*parts)), self._space)
        trial = self._trials[number] = self._optuna.ask()
        if genetic and given is not None:
            self._join_generation(trial.number)
        settings = spread(self._fixed)
        for name, entry in self._space.items():
            if applies(entry, settings):
                settings[name] = _suggest(trial, name, entry)
        return gathered({name: settings[name] for name in self._space if name in settings})

    def _join_generation(self, number: int) -> None:
        """Put a trial with given settings into a generation: NSGA-II does so for its own suggestions only."""
        assert isinstance(self._optuna.sampler, _OnGrid)
        sampler = self._optuna.sampler.inner
        assert isinstance(sampler, optuna.samplers.NSGAIISampler)
        trial = self._optuna.get_trials(deepcopy=False)[number]
        sampler.get_parent_population(self._optuna, sampler.get_trial_generation(self._optuna, trial))

    def report(self, number: int, epoch: Epoch) -> bool:
        """Record a value; True when the pruner would stop the trial here."""
        if epoch.val_top1 is None or self._several:
            return False
        self._trials[number].report(_value(epoch), epoch.epoch)
        return epoch.epoch in self._decisions and self._trials[number].should_prune()

    def tell(self, number: int, outcome: Outcome, above_ceiling: int | None = None) -> None:
        """End a trial.

        Args:
            number: the trial's.
            outcome: how it ended.
            above_ceiling: by how many trainable parameters its settings exceed the study's ceiling (negative
                below it), from which the sampler learns where not to look; None where there is no ceiling.
        """
        state, values = _told(self._search.objectives, outcome, above_ceiling)
        trial = self._trials.pop(number)
        if above_ceiling is not None:
            trial.set_constraint(_CEILING, above_ceiling)
        self._optuna.tell(trial, values, state=state)


def _value(epoch: Epoch) -> float:
    """What the pruner goes by: NaN, which it stops, where the loss beside an accuracy is no number."""
    assert epoch.val_top1 is not None
    return epoch.val_top1 if epoch.finite else math.nan


def _told(
    objectives: tuple[Objective, ...], outcome: Outcome, above_ceiling: int | None
) -> tuple[TrialState, list[float] | None]:
    """A trial's end as Optuna takes it: without a number for each objective it has failed.

    Settings above the ceiling are pruned to Optuna, whose samplers take no notice of what has failed.
    """
    if above_ceiling is not None and above_ceiling > 0:
        return TrialState.PRUNED, None
    if outcome.state != "completed":
        return _STATES[outcome.state], None
    values = objective_values(objectives, outcome) if outcome.ranked else []
    return (
        (TrialState.COMPLETE, values)
        if values and all(map(math.isfinite, values))
        else (TrialState.FAIL, None)
    )
