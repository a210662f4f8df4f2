"""The search of a cell, replayed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from unittest.mock import Mock, call

import optuna
import pytest

from tests.conftest import LR, small_study
from tests.curves import curve
from tests.synthetic import run_all, run_one
from wst.planning import cell_search
from wst.planning.cell_search import CellSearch, distribution
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Intent, Outcome, stable_seed
from wst.study import Study
from wst.study.space import Categorical, Float, Int, grid

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
        pytest.param({"type": "gp", "n_startup_trials": 4}, marks=pytest.mark.slow),
        {"type": "nsga2", "population_size": 4},
        {"type": "grid"},
    ],
    ids=lambda sampler: "-".join(map(str, sampler.values())),
)
def test_settings_that_are_equal_run_once(sampler: dict[str, Any]) -> None:
    trials = 12 if sampler["type"] == "gp" else 24  # it takes its time over settings that it may not have
    ended = run_all(Planner(_tenths(sampler=sampler, trials=trials)))
    ran = [trial for trial in ended if trial.outcome.attempts > 0]
    assert len(ended) == (10 if sampler["type"] == "grid" else trials) and len(ran) <= 10
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


def _search(study: Study, variant: str = "wst") -> CellSearch:
    return CellSearch(study, "digits", variant)


@pytest.mark.parametrize(
    ("asked", "kind", "options"),
    [
        (
            {
                "type": "tpe",
                "n_startup_trials": 3,
                "n_ei_candidates": 7,
                "multivariate": False,
                "group": False,
            },
            "TPESampler",
            {"n_startup_trials": 3, "n_ei_candidates": 7, "multivariate": False, "constant_liar": True},
        ),
        (
            {"type": "gp", "n_startup_trials": 4, "deterministic_objective": True},
            "GPSampler",
            {"n_startup_trials": 4, "deterministic_objective": True, "warn_independent_sampling": False},
        ),
        ({"type": "nsga2", "population_size": 4}, "NSGAIISampler", {"population_size": 4}),
        ({"type": "random"}, "RandomSampler", {}),
    ],
    ids=["tpe", "gaussian", "nsga2", "random"],
)
def test_samplers_get_their_options_and_a_seed_of_the_trial(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], kind: str, options: dict[str, Any]
) -> None:
    made: list[dict[str, Any]] = []
    whole = getattr(optuna.samplers, kind)

    def make(**given: Any) -> Any:
        made.append(given)
        return whole(**given)

    search = _search(_study(sampler=asked))
    monkeypatch.setattr(optuna.samplers, kind, make)
    for number in range(2):
        search.ask(number, lambda settings: False)
    if kind == "NSGAIISampler":
        monkeypatch.setattr(optuna.samplers, kind, whole)  # which is asked for by its class, too
    assert all(given.items() >= options.items() for given in made) and len(made) == 2
    assert [given["seed"] for given in made] == [stable_seed(0, "digits", "wst", n) for n in range(2)]


@pytest.mark.parametrize(
    ("asked", "kind", "expected"),
    [
        (HALVING, optuna.pruners.SuccessiveHalvingPruner, {"_min_resource": 1, "_reduction_factor": 2}),
        (
            {"type": "median", "n_startup_trials": 2, "n_warmup_epochs": 3, "n_min_trials": 4},
            optuna.pruners.MedianPruner,
            {"_n_startup_trials": 2, "_n_warmup_steps": 3, "_n_min_trials": 4},
        ),
        ({"type": "none"}, optuna.pruners.NopPruner, {}),
    ],
    ids=["halving", "median", "none"],
)
def test_pruners_get_their_options(asked: dict[str, Any], kind: type, expected: dict[str, int]) -> None:
    pruner = _search(_study(pruner=asked))._optuna.pruner
    assert type(pruner) is kind and {name: getattr(pruner, name) for name in expected} == expected


def test_reasons_and_the_order_of_what_is_asked() -> None:
    fine = lambda settings: False  # noqa: E731
    given = [{"lr": 0.01, "r": 2, "scale": 1.0}, {"lr": 0.02, "r": 4}]
    variants = {"wst": {"method": "wst", "space": SPACE, "warm_start": given}}
    study = small_study(variants=variants, search={"trials": 5}, final=None)
    search = _search(study)
    asked = [search.ask(number, fine) for number in range(3)]
    assert [why for _, why in asked[:2]] == ["warm start from given settings"] * 2
    assert [settings for settings, _ in asked[:2]] == given
    assert asked[2][1] == "suggested by the sampler"
    on_grid = _search(_study(sampler={"type": "grid", "points": 2}))
    points = grid(study.variants["wst"].space or {}, 2, {}, stable_seed(0, "digits", "wst"))
    found = [on_grid.ask(number, fine) for number in range(len(points))]
    assert [settings for settings, _ in found] == points
    assert {why for _, why in found} == {"a point of the grid"}


def test_a_refused_suggestion_is_asked_for_again_and_let_pass_in_the_end() -> None:
    """Each time by another seed; what was refused tells the sampler nothing."""
    search = _search(_study(sampler={"type": "random"}))
    seen: list[Any] = []

    def refuse(settings: Any) -> bool:
        seen.append(settings)
        return len(seen) < 4

    settings, _ = search.ask(0, refuse)
    assert settings == seen[3] and len(seen) == 4 and len({repr(one) for one in seen}) == 4
    states = [t.state for t in search._optuna.get_trials(deepcopy=False)]
    fail, running = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.RUNNING
    assert states == [fail] * 3 + [running]
    stubborn = _search(_study(sampler={"type": "random"}))
    tried: list[Any] = []
    settings, _ = stubborn.ask(0, lambda one: tried.append(one) is None)
    assert len(tried) == 20 and settings == tried[-1]
    states = [t.state for t in stubborn._optuna.get_trials(deepcopy=False)]
    assert states == [fail] * 19 + [running]
    stubborn.withdraw(0)
    assert stubborn._optuna.get_trials(deepcopy=False)[-1].state == fail


def test_suggestions_depend_on_seed_task_variant_and_number_alone() -> None:
    def first(seed: int, task: str, number: int = 0) -> Any:
        study = _study(sampler={"type": "random"}).model_copy(update={"seed": seed})
        return CellSearch(study, task, "wst").ask(number, lambda settings: False)[0]

    assert first(0, "digits") == first(0, "digits")
    others = [first(0, "digits"), first(1, "digits"), first(0, "emoji_group"), first(0, "digits", 1)]
    assert len({repr(one) for one in others}) == 4


def test_what_optuna_is_told() -> None:
    study = _study(objectives=["val_top1", "trainable_parameters"]).model_copy(update={"name": "s"})
    search = _search(study)
    assert search._optuna.study_name == "s.digits.wst"
    maximise, minimise = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    assert search._optuna.directions == [maximise, minimise]
    search.ask(0, lambda settings: False)
    last = Epoch(1, 0.1, 1.0, 0.5, 0.25, 0.0)
    assert not search.report(0, last)  # several objectives: no pruner
    search.tell(0, Outcome("completed", epochs=(last,), trainable_parameters=7))
    (trial,) = search._optuna.get_trials()
    assert trial.values == [0.25, 7.0] and not trial.intermediate_values
    one = _search(_study(pruner=HALVING))
    one.ask(0, lambda settings: False)
    assert not one.report(0, Epoch(1, 0.1, 1.0, None, None, 0.0))  # no validation
    one.report(0, last)
    one.tell(0, Outcome("failed", epochs=(last,)))
    (trial,) = one._optuna.get_trials()
    assert trial.intermediate_values == {1: 0.25} and trial.state == optuna.trial.TrialState.FAIL
    assert one._optuna.directions == [maximise]


def test_what_is_added_is_what_was_suggested() -> None:
    """Not what is fixed, nor what a condition leaves out."""
    variants = {"wst": {"method": "wst", "space": SPACE, "fixed": {"drop_path": 0.1}}}
    search = _search(small_study(variants=variants, search={"trials": 5}, final=None))
    epochs = (Epoch(1, 0.1, 1.0, 0.5, 0.5, 0.0), Epoch(2, 0.1, 1.0, 0.5, 0.75, 0.0))
    rest = {"lr": 0.01, "drop_path": 0.1}
    search.add(0, {**rest, "r": 2, "scale": 10 * 0.1}, Outcome("completed", epochs=epochs))
    search.add(1, {**rest, "r": 1, "scale": 1.0}, Outcome("pruned", epochs=epochs[:1]))
    search.add(2, {**rest, "r": 1}, Outcome("failed", epochs=epochs[:1]))
    trials = search._optuna.get_trials()
    assert [t.params for t in trials] == [{"r": 2, "lr": 0.01, "scale": 1.0}] + [{"r": 1, "lr": 0.01}] * 2
    assert [(t.state.name, t.values) for t in trials] == [
        ("COMPLETE", [0.75]),
        ("PRUNED", [0.5]),
        ("FAIL", None),
    ]
    assert [t.intermediate_values for t in trials] == [{1: 0.5, 2: 0.75}, {1: 0.5}, {1: 0.5}]
    assert [list(t.distributions) for t in trials] == [list(t.params) for t in trials]


def test_distributions_of_every_kind() -> None:
    whole = distribution(Int(low=1, high=9, step=2))
    assert (whole.low, whole.high, whole.step, whole.log) == (1, 9, 2, False)  # type: ignore[attr-defined]
    assert distribution(Int(low=1, high=9, log=True)).log  # type: ignore[attr-defined]
    real = distribution(Float(low=0.1, high=1.0, log=True))
    assert (real.log, real.step) == (True, None)  # type: ignore[attr-defined]
    choices = distribution(Categorical(choices=("a", (1, 2))))
    assert choices.choices == ("a", "[1, 2]")  # type: ignore[attr-defined]


def test_lists_are_suggested_whole_or_by_place() -> None:
    space = {
        "whole": {"type": "categorical", "choices": [[1, 2], [3, 4]]},
        "placed[0..1]": {"type": "int", "low": 1, "high": 9, "step": 2},
        "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    }
    variants = {"own": {"method": "own.py", "space": space}}
    search = CellSearch(small_study(variants=variants, search={"trials": 30}, final=None), "digits", "own")
    found = [search.ask(number, lambda settings: False)[0] for number in range(30)]
    assert {settings["whole"] for settings in found} == {(1, 2), (3, 4)}
    assert {one for settings in found for one in settings["placed"]} == {1, 3, 5, 7, 9}  # type: ignore[union-attr]
    rates = sorted(float(settings["lr"]) for settings in found)  # type: ignore[arg-type]
    assert rates[0] >= 1e-4 and rates[-1] <= 1e-1 and rates[len(rates) // 2] < 0.03  # evenly on the log scale


def test_a_sampler_on_the_grid_hears_all_that_optuna_says() -> None:
    inner = Mock(spec=optuna.samplers.RandomSampler)
    sampler = cell_search._OnGrid(inner, {"a": Float(low=0.0, high=0.4, step=0.1), "b": Int(low=0, high=9)})
    study, trial, space, kind = object(), object(), object(), object()
    inner.sample_relative.return_value = {"a": NOISY, "b": 3}
    inner.sample_independent.return_value = NOISY
    inner.infer_relative_search_space.return_value = space
    assert sampler.infer_relative_search_space(study, trial) is space  # type: ignore[arg-type, comparison-overlap]
    assert sampler.sample_relative(study, trial, space) == {"a": 0.3, "b": 3}  # type: ignore[arg-type]
    assert sampler.sample_independent(study, trial, "a", kind) == 0.3  # type: ignore[arg-type]
    sampler.before_trial(study, trial)  # type: ignore[arg-type]
    sampler.after_trial(study, trial, optuna.trial.TrialState.FAIL, [1.0])  # type: ignore[arg-type]
    assert inner.method_calls == [
        call.infer_relative_search_space(study, trial),
        call.sample_relative(study, trial, space),
        call.sample_independent(study, trial, "a", kind),
        call.before_trial(study, trial),
        call.after_trial(study, trial, optuna.trial.TrialState.FAIL, [1.0]),
    ]
