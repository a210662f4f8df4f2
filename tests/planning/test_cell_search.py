"""The search of a cell, replayed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import optuna
import pytest

from tests.conftest import LR, small_study
from tests.synthetic import curve, run_all, run_one
from wst.planning.cell_search import distribution
from wst.planning.planner import Planner
from wst.records import EndedTrial, Intent, Outcome
from wst.study import Study
from wst.study.space import Float

HALVING = {"type": "successive_halving", "min_resource": 1, "reduction_factor": 2}
SPACE = {
    "r": {"type": "int", "low": 1, "high": 4},
    "lr": LR,
    "scale": {"type": "categorical", "choices": [0.1, 1.0], "when": {"r": [2, 3]}},
}


def _study(**search: Any) -> Study:
    variants = {"wst": {"method": "wst", "space": SPACE}}
    return small_study(variants=variants, search={"trials": 20, **search}, final=None)


def _optuna_trials(planner: Planner) -> list[tuple[object, ...]]:
    """All that Optuna's samplers and pruners look at; trials that were withdrawn tell them nothing."""
    (cell,) = planner.cells.values()
    assert cell.search is not None
    notes = [f"completed_rung_{rung}" for rung in range(5)]
    return [
        (t.state, t.values, t.params, t.distributions, t.intermediate_values, *map(t.system_attrs.get, notes))
        for t in cell.search._optuna.get_trials(deepcopy=False)
        if t.state != optuna.trial.TrialState.FAIL
    ]


@pytest.mark.parametrize(
    "search",
    [
        {"pruner": HALVING},
        {"pruner": HALVING, "sampler": {"type": "random"}},
        {"pruner": {"type": "median", "n_startup_trials": 2}},
        {"sampler": {"type": "nsga2", "population_size": 4}, "objectives": ["val_top1", "train_seconds"]},
        {"objectives": ["val_top1", "trainable_parameters"]},
    ],
    ids=["halving", "random", "median", "nsga2", "objectives"],
)
def test_a_replay_gives_optuna_what_the_search_gave_it(search: dict[str, Any]) -> None:
    study = _study(**search)
    planner = Planner(study)
    ended = run_all(planner, stop_after=12)
    asked = [planner.ask(), planner.ask()]
    intents = [intent for intent in asked if intent is not None]
    again = Planner(study, [*(t.intent for t in ended), *intents], ended)
    assert _optuna_trials(again) == _optuna_trials(planner)
    if "pruner" in search:
        assert {trial.outcome.state for trial in ended} == {"completed", "pruned"}


def test_an_interrupted_trial_is_pruned_as_it_would_have_been() -> None:
    study = _study(pruner=HALVING)
    planner = Planner(study)
    ended = run_all(planner, stop_after=12)
    intent = planner.ask()
    assert intent is not None
    again = Planner(study, [*(t.intent for t in ended), intent], ended)
    assert again.ask() == intent
    assert run_one(again, intent) == run_one(planner, intent)
    assert [t.intent for t in run_all(again)] == [t.intent for t in run_all(planner)]


def test_optuna_distributions() -> None:
    found = distribution(Float(low=0.0, high=0.4, step=0.1))
    assert (found.low, found.high, found.step) == (0.0, 0.4, 0.1)  # type: ignore[attr-defined]


TENTHS = {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1}
NOISY = 3 * 0.1
assert NOISY != 0.3


def _tenths(**search: Any) -> Study:
    """10 configurations, of which 4 warm starts are 3."""
    variant = {
        "method": "wst",
        "fixed": {"r": 2, "lr": 5e-3},
        "space": {"drop_path": TENTHS, "scale": {"type": "categorical", "choices": [1.0, 10.0]}},
        "warm_start": [
            {"drop_path": 0.3, "scale": 1},
            {"drop_path": NOISY, "scale": 1.0},
            {"drop_path": 0.3, "scale": 10},
            {"drop_path": 0.1, "scale": 1},
        ],
    }
    return small_study(variants={"wst-r2": variant}, search={"trials": 24, **search}, final=None)


@pytest.mark.parametrize(
    "sampler",
    [
        {"type": "random"},
        {"type": "tpe", "n_startup_trials": 4},
        {"type": "tpe", "n_startup_trials": 4, "multivariate": False},
        {"type": "gp", "n_startup_trials": 4},
        {"type": "nsga2", "population_size": 4},
        {"type": "grid"},
    ],
    ids=lambda sampler: "-".join(map(str, sampler.values())),
)
def test_settings_that_are_equal_run_once(sampler: dict[str, Any]) -> None:
    study = _tenths(sampler=sampler)
    ended = run_all(Planner(study))
    ran = [trial for trial in ended if trial.outcome.attempts > 0]
    assert len(ended) == (10 if sampler["type"] == "grid" else 24) and len(ran) <= 10
    drops = {repr(trial.intent.hyperparameters["drop_path"]) for trial in ended}
    assert drops <= {"0.0", "0.1", "0.2", "0.3", "0.4"}
    assert {repr(trial.intent.hyperparameters["scale"]) for trial in ended} == {"1.0", "10.0"}


def _noisy(trial: EndedTrial) -> EndedTrial:
    """As a ledger of an older version has it, whose steps are Optuna's and whose choices the user's."""
    settings = dict(trial.intent.hyperparameters)
    if settings["drop_path"] == 0.3:
        settings["drop_path"] = NOISY
    settings["scale"] = int(settings["scale"])  # type: ignore[arg-type]
    return EndedTrial(replace(trial.intent, hyperparameters=settings), trial.outcome)


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_study_goes_on_from_a_ledger_with_steps_that_missed_their_numbers(sampler: str) -> None:
    study = _tenths(sampler={"type": sampler})
    planner = Planner(study)
    ended = run_all(planner, stop_after=12)
    older = [_noisy(trial) for trial in ended]
    assert any(trial.intent.hyperparameters["drop_path"] == NOISY for trial in older)
    again = Planner(study, [trial.intent for trial in older], older)
    assert _optuna_trials(again) == _optuna_trials(planner)
    rest = run_all(again)
    assert [t.intent.hyperparameters for t in rest] == [t.intent.hyperparameters for t in run_all(planner)]
    assert sum(t.outcome.attempts > 0 for t in [*older, *rest]) <= 10


def _broken(planner: Planner, intent: Intent, **what: float) -> Outcome:
    """A trial whose last epoch has no numbers, though it was written down as completed."""
    *epochs, last = curve(intent, planner.study.recipe.epochs)
    return Outcome("completed", epochs=(*epochs, replace(last, **what)), train_seconds=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "what", [{"val_loss": math.nan, "val_top1": 1.0}, {"val_top1": math.nan}, {"val_loss": math.inf}]
)
@pytest.mark.parametrize("objectives", [["val_top1"], ["val_top1", "train_seconds"]])
def test_what_is_not_a_number_has_failed_for_the_search_and_wins_nothing(
    what: dict[str, float], objectives: list[str]
) -> None:
    study = _study(objectives=objectives).model_copy(update={"confirm": None})
    planner = Planner(study)
    first, second = planner.ask(), planner.ask()
    assert first is not None and second is not None
    outcome = _broken(planner, first, **what)
    for epoch in outcome.epochs:
        planner.report(first.trial_id, epoch)
    planner.tell(first.trial_id, outcome)
    run_one(planner, second)
    (cell,) = planner.cells.values()
    assert cell.search is not None and cell.best is not None
    states = [t.state for t in cell.search._optuna.get_trials(deepcopy=False)]
    assert states == [optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE]
    assert [c.trial.intent.trial_id for c in cell.candidates("final")] == [second.trial_id]
    again = Planner(study, [first, second], [*cell.ended["search"]])
    assert _optuna_trials(again) == _optuna_trials(planner)


@pytest.mark.parametrize("pruner", [HALVING, {"type": "median", "n_startup_trials": 0}])
def test_what_is_not_a_number_is_stopped_by_the_pruner(pruner: dict[str, Any]) -> None:
    study = _study(pruner=pruner)
    planner = Planner(study)
    run_one(planner, planner.ask())  # type: ignore[arg-type]
    intent = planner.ask()
    assert intent is not None
    first = replace(curve(intent, 4)[0], val_loss=math.nan, val_top1=1.0)
    assert study.report_epochs()[0] > 1 or planner.report(intent.trial_id, first)
    second = replace(curve(intent, 4)[1], val_loss=math.nan, val_top1=1.0)
    assert planner.report(intent.trial_id, second)
    told = (first, second)
    planner.tell(intent.trial_id, Outcome("pruned", epochs=told))
    again = Planner(study, *_history(planner))
    assert [t[0] for t in _optuna_trials(again)] == [t[0] for t in _optuna_trials(planner)]


def _history(planner: Planner) -> tuple[list[Intent], list[EndedTrial]]:
    (cell,) = planner.cells.values()
    return [trial.intent for trial in cell.ended["search"]], cell.ended["search"]
