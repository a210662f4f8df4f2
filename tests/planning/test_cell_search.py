"""The search of a cell, replayed."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from tests.conftest import LR, small_study
from tests.synthetic import run_all, run_one
from wst.planning.cell_search import distribution
from wst.planning.planner import Planner
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
