from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import LR, small_study
from tests.curves import curve
from tests.synthetic import run_all, run_one
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Hyperparameters, Outcome
from wst.study import Study


def test_every_cell_gets_the_trials_that_were_asked_for() -> None:
    planner = Planner(small_study(tasks=["digits", "sprite_loc"]))
    ended = run_all(planner)
    assert planner.done and planner.ask() is None
    ids = [trial.intent.trial_id for trial in ended]
    assert len(ids) == len(set(ids)) == 4 * (6 + 2)
    assert [trial.intent.ask_order for trial in ended] == list(range(len(ended)))


def test_final_uses_the_best_settings_with_seeds_that_cells_share() -> None:
    planner = Planner(small_study())
    ended = run_all(planner)
    for cell in planner.cells.values():
        best = cell.best
        assert best is not None
        finals = [t for t in ended if t.intent.stage == "final" and t.intent.variant == cell.variant]
        assert {t.intent.parent for t in finals} == {best.trial.intent.trial_id}
        assert all(t.intent.hyperparameters == best.trial.intent.hyperparameters for t in finals)
        assert [t.intent.seed for t in finals] == [1, 2]  # the search's seed is 0


def test_best_is_chosen_by_last_epoch_then_loss_then_number() -> None:
    planner = Planner(small_study(search={"trials": 4}, final=None))
    cell = planner.cells["digits", "linear"]
    values = {0: (0.9, 0.5), 1: (0.9, 0.4), 2: (0.9, 0.4), 3: (0.95, 0.1)}
    while not planner.done:
        intent = planner.ask()
        assert intent is not None
        if intent.variant != "linear":
            run_one(planner, intent)
            continue
        last = curve(intent, 4)[-1]
        top1, loss = values[intent.number]
        epoch = type(last)(4, last.lr, 1.0, loss, top1, 0.0)
        state = "failed" if intent.number == 3 else "completed"
        planner.tell(intent.trial_id, Outcome(state, epochs=(epoch,)))  # type: ignore[arg-type]
    best = cell.best
    assert best is not None and best.trial.intent.number == 1


def test_settings_from_another_variant_wait_for_its_search() -> None:
    study = small_study(
        variants={
            "wst-r2": {"method": "wst", "space": {"lr": LR}, "fixed": {"r": 2, "scale": 0.5}},
            "wst-r4": {"method": "wst", "settings_from": "wst-r2", "fixed": {"r": 4}},
        }
    )
    planner = Planner(study)
    ended = run_all(planner)
    best = planner.cells["digits", "wst-r2"].best
    assert best is not None
    copies = [t.intent for t in ended if t.intent.variant == "wst-r4"]
    assert len(copies) == 2
    for intent in copies:
        assert intent.parent == best.trial.intent.trial_id
        assert intent.reason == "settings found for wst-r2 (best of 6 on val)"
        assert intent.hyperparameters == {
            "weight_decay": 0.05,
            "drop_path": 0.0,
            "r": 4,
            "lr": best.trial.intent.hyperparameters["lr"],
        }
    assert [t.intent.variant for t in ended][:6] == ["wst-r2"] * 6


def test_fixed_study_needs_no_search() -> None:
    study = small_study(
        variants={"linear": {"method": "linear", "fixed": {"lr": 0.01}}}, search=None, final={"seeds": 3}
    )
    ended = run_all(Planner(study))
    assert [t.intent.stage for t in ended] == ["final"] * 3
    assert ended[0].intent.hyperparameters == {"weight_decay": 0.05, "drop_path": 0.0, "lr": 0.01}


def test_cell_whose_every_trial_failed_has_no_final() -> None:
    planner = Planner(small_study())
    while not planner.done:
        intent = planner.ask()
        assert intent is not None
        if intent.variant == "linear":
            planner.tell(intent.trial_id, Outcome("failed", error_type="ValueError"))
        else:
            run_one(planner, intent)
    assert planner.cells["digits", "linear"].count("final") == 0
    assert planner.cells["digits", "wst-r2"].count("final") == 2


def test_successive_halving_prunes_the_worse_at_its_rungs() -> None:
    planner = Planner(small_study(search={**_HALVING, "trials": 20}))
    ended = run_all(planner)
    pruned = [t for t in ended if t.outcome.state == "pruned"]
    assert len(pruned) >= 15
    assert {len(t.outcome.epochs) for t in pruned} <= {1, 2}
    assert all(len(t.outcome.epochs) == 4 for t in ended if t.outcome.state == "completed")


_HALVING: dict[str, Any] = {
    "sampler": {"type": "tpe", "n_startup_trials": 3},
    "pruner": {"type": "successive_halving", "min_resource": 1, "reduction_factor": 2},
}


_SPACE = {
    "lr": LR,
    "r": {"type": "int", "low": 1, "high": 4},
    "downsampling": {"type": "categorical", "choices": ["haar", "average"]},
    "scale": {"type": "float", "low": 0.1, "high": 1.0, "when": {"downsampling": ["haar"]}},
}
_TPE: dict[str, Any] = {"type": "tpe", "n_startup_trials": 3}
_MEDIAN = {"type": "median", "n_startup_trials": 2, "n_warmup_epochs": 1}
_SEARCHES: dict[str, dict[str, Any]] = {
    "tpe": {"sampler": _TPE},
    "tpe-grouped": {"sampler": {**_TPE, "group": True}},
    "tpe-independent": {"sampler": {**_TPE, "multivariate": False, "constant_liar": False}},
    "gp": {"sampler": {"type": "gp", "n_startup_trials": 3}},
    "random": {"sampler": {"type": "random"}},
    "grid": {"sampler": {"type": "grid", "points": 2}},
    "nsga2": {"sampler": {"type": "nsga2", "population_size": 3}},
    "median": {"sampler": _TPE, "pruner": _MEDIAN},
    "no pruner": {"sampler": _TPE, "pruner": {"type": "none"}},
    "tpe on two objectives": {"sampler": _TPE, "objectives": ["val_top1", "trainable_parameters"]},
    "nsga2 on three": {
        "sampler": {"type": "nsga2", "population_size": 3},
        "objectives": ["val_top1", "trainable_parameters", "train_seconds"],
    },
    "gp on two objectives": {
        "trials": 5,
        "sampler": {"type": "gp", "n_startup_trials": 3},
        "objectives": ["val_top1", "train_seconds"],
    },
}


@pytest.mark.parametrize("name", _SEARCHES)
@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_replay_goes_on_as_the_uncut_study(name: str, data: st.DataObject) -> None:
    search = {"trials": 9, **_SEARCHES[name]}
    if len(search.get("objectives", ())) < 2:
        search = {"pruner": _HALVING["pruner"], **search}
    variants = {"wst": {"method": "wst", "space": _SPACE}}
    study = small_study(variants=variants, search=search, confirm={"top": 2, "seeds": 2})
    whole = run_all(Planner(study))
    cut = data.draw(st.integers(0, len(whole)))
    interrupted = data.draw(st.booleans()) and cut < len(whole)
    intents = [trial.intent for trial in whole[: cut + interrupted]]
    again = Planner(study, intents, whole[:cut])
    assert whole[:cut] + run_all(again) == whole


def test_interrupted_trials_come_first_and_in_their_order() -> None:
    study = small_study()
    planner = Planner(study)
    intents = [planner.ask() for _ in range(3)]
    known = [intent for intent in intents if intent is not None]
    again = Planner(study, known, [])
    assert [again.ask() for _ in range(3)] == known
    assert not again.done


def test_parallel_trials_of_a_rebuilt_study_keep_their_numbers() -> None:
    study = small_study()
    planner = Planner(study)
    first, second = planner.ask(), planner.ask()
    assert first is not None and second is not None
    outcome = run_one(planner, second)  # the later one ends first
    again = Planner(study, [first, second], [EndedTrial(second, outcome)])
    assert again.ask() == first
    third = again.ask()
    assert third is not None and third.ask_order == 2


def test_suggestions_depend_on_the_seed() -> None:
    def first(seed: int) -> object:
        intent = Planner(small_study(seed=seed)).ask()
        assert intent is not None
        return intent.hyperparameters

    assert first(0) == first(0) != first(1)


def test_warm_start_is_the_first_trial_and_says_so() -> None:
    variants = {"linear": {"method": "linear", "space": {"lr": LR}, "warm_start": {"digits": {"lr": 0.0123}}}}
    study = small_study(variants=variants)
    ended = run_all(Planner(study))
    assert ended[0].intent.hyperparameters["lr"] == 0.0123
    assert ended[0].intent.reason == "warm start from given settings"
    assert ended[1].intent.reason == "suggested by the sampler"
    again = Planner(study, [t.intent for t in ended[:3]], ended[:3])
    assert ended[:3] + run_all(again) == ended


def test_settings_by_task_need_no_search() -> None:
    table = {"digits": {"lr": 0.1}, "sprite_loc": {"lr": 0.2}}
    study = small_study(
        tasks=["digits", "sprite_loc"],
        variants={"linear": {"method": "linear", "per_task": table}},
        search=None,
    )
    ended = run_all(Planner(study))
    assert {(t.intent.task, t.intent.hyperparameters["lr"]) for t in ended} == {
        ("digits", 0.1),
        ("sprite_loc", 0.2),
    }


def _study(trials: int = 6, space: dict[str, Any] | None = None, **changes: Any) -> Study:
    """One cell."""
    search = {"trials": trials, "sampler": {"type": "random"}, **changes.pop("search", {})}
    variants = {"linear": {"method": "linear", "space": space or {"lr": LR}, **changes.pop("variant", {})}}
    return small_study(variants=variants, search=search, **changes)


def test_confirm_retrains_the_best_under_seeds_of_its_own_and_their_mean_chooses() -> None:
    planner = Planner(_study(confirm={"top": 3, "seeds": 2}))
    ended = run_all(planner)
    by_stage = {
        stage: [t for t in ended if t.intent.stage == stage] for stage in ("search", "confirm", "final")
    }
    assert [len(trials) for trials in by_stage.values()] == [6, 6, 2]

    def last(trial: EndedTrial) -> float:
        return trial.outcome.epochs[-1].val_top1 or 0.0

    ranked = sorted(by_stage["search"], key=lambda t: -last(t))
    confirms = by_stage["confirm"]
    assert [t.intent.parent for t in confirms[::2]] == [t.intent.trial_id for t in ranked[:3]]
    assert {t.intent.seed for t in confirms} == {1001, 1002}
    assert confirms[0].intent.reason == "number 1 of 6 on val"
    means = {t.intent.parent: 0.0 for t in confirms}
    for trial in confirms:
        means[trial.intent.parent] += last(trial) / 2
    chosen = max(means, key=lambda parent: means[parent])
    assert {t.intent.parent for t in by_stage["final"]} == {chosen}
    assert by_stage["final"][0].intent.reason == "best of 6 on val, by the mean of 2 more seeds"
    best = planner.cells["digits", "linear"].best
    assert best is not None and best.val_top1 == pytest.approx(means[chosen])


def test_settings_of_which_a_confirming_seed_fails_are_out() -> None:
    planner = Planner(_study(confirm={"top": 2, "seeds": 2}))
    while not planner.done:
        intent = planner.ask()
        assert intent is not None
        if intent.trial_id.endswith("confirm.0001"):
            unlucky = intent.parent
            planner.tell(intent.trial_id, Outcome("failed", error_type="DivergedError"))
        else:
            run_one(planner, intent)
    cell = planner.cells["digits", "linear"]
    assert cell.count("final") == 2
    assert unlucky not in {t.intent.parent for t in cell.ended["final"]}


@pytest.mark.parametrize(("ties", "winner"), [("val_loss", 2), ("trainable_parameters", 1), ("earlier", 0)])
def test_ties_go_by_the_declared_rule(ties: str, winner: int) -> None:
    planner = Planner(_study(trials=3, ties=ties, final=None))
    for number, (loss, parameters) in enumerate([(0.5, 300), (0.4, 100), (0.3, 200)]):
        intent = planner.ask()
        assert intent is not None and intent.number == number
        epoch = Epoch(4, 0.1, 1.0, loss, 0.9, 0.0)
        planner.tell(intent.trial_id, Outcome("completed", (epoch,), trainable_parameters=parameters))
    best = planner.cells["digits", "linear"].best
    assert best is not None and best.trial.intent.number == winner


def test_several_objectives_end_in_a_front_and_each_member_is_retrained() -> None:
    space = {"lr": LR, "r": {"type": "int", "low": 1, "high": 4}}
    objectives = {"objectives": ["val_top1", "trainable_parameters"], "trials": 16}
    study = _study(space=space, search=objectives, variant={"method": "wst"}, seed=3)
    ended = run_all(Planner(study))
    searched = [t for t in ended if t.intent.stage == "search"]

    def values(trial: EndedTrial) -> tuple[float, int]:
        return trial.outcome.epochs[-1].val_top1 or 0.0, -(trial.outcome.trainable_parameters or 0)

    beaten = {
        t.intent.trial_id
        for t in searched
        for other in searched
        if values(other) != values(t) and all(a >= b for a, b in zip(values(other), values(t), strict=True))
    }
    finals = [t.intent for t in ended if t.intent.stage == "final"]
    front = {t.intent.trial_id for t in searched} - beaten
    assert {intent.parent for intent in finals} == front and len(front) > 1
    assert len(finals) == 2 * len(front)
    assert finals[0].reason == "on the front of 16 on val"


def test_configuration_that_comes_again_is_settled_from_its_first_trial() -> None:
    space = {"lr": {"type": "categorical", "choices": [0.1, 0.01]}}
    planner = Planner(_study(trials=5, space=space))
    ended = [t for t in run_all(planner) if t.intent.stage == "search"]
    assert len(ended) == 5
    first, second, *again = ended
    assert first.intent.hyperparameters != second.intent.hyperparameters  # the sampler was asked again
    for trial in again:
        original = next(t for t in (first, second) if t.intent.trial_id == trial.intent.parent)
        assert trial.intent.hyperparameters == original.intent.hyperparameters
        assert trial.outcome.epochs == original.outcome.epochs
        assert (trial.outcome.attempts, trial.outcome.train_seconds) == (0, 0.0)
        assert "not run twice" in trial.intent.reason


def test_configuration_that_runs_is_not_begun_a_second_time() -> None:
    space = {"lr": {"type": "categorical", "choices": [0.1, 0.01]}}
    planner = Planner(_study(trials=3, space=space))
    first, second = planner.ask(), planner.ask()
    assert first is not None and second is not None
    assert planner.ask() is None and not planner.done
    run_one(planner, first)
    run_one(planner, second)
    third = planner.ask()
    assert third is not None and third.parent in (first.trial_id, second.trial_id)
    assert planner.settled(third) is not None


def test_settings_above_the_ceiling_are_suggested_anew() -> None:
    space = {"lr": LR, "r": {"type": "int", "low": 1, "high": 8}}
    study = _study(trials=8, space=space, search={"max_trainable_parameters": 300}, variant={"method": "wst"})
    ended = run_all(Planner(study, count_parameters=lambda variant, settings: 100 * int(settings["r"])))
    assert {t.intent.hyperparameters["r"] for t in ended} == {1, 2, 3}


@pytest.mark.parametrize(
    "sampler", [{"type": "tpe", "n_startup_trials": 2}, {"type": "nsga2", "population_size": 2}]
)
def test_the_sampler_learns_of_the_ceiling_and_a_replay_leaves_it_as_it_was(
    sampler: dict[str, object],
) -> None:
    """Settings above it come as warm starts here, which are not suggested anew."""
    space = {"lr": LR, "r": {"type": "int", "low": 1, "high": 40}}
    search = {"max_trainable_parameters": 300, "sampler": sampler}
    points = [{"lr": 0.01, "r": 30}, {"lr": 0.02, "r": 2}, {"lr": 0.03, "r": 40}]
    study = _study(trials=8, space=space, search=search, variant={"method": "wst", "warm_start": points})

    def count(variant: str, settings: Hyperparameters) -> int:
        return 100 * int(settings["r"])

    planner = Planner(study, count_parameters=count)
    ended = run_all(planner)
    again = Planner(study, [t.intent for t in ended], ended, count_parameters=count)
    (cell,), (replayed,) = planner.cells.values(), again.cells.values()
    assert cell.search is not None and replayed.search is not None
    # Suggestions above the ceiling are withdrawn, and known to nobody afterwards.
    found = [trial for trial in cell.search._optuna.get_trials() if trial.constraints]
    excess = [next(iter(trial.constraints.values())) for trial in found]
    assert excess[:3] == [2700, -100, 3700] and len(excess) == 8
    assert [trial.state.name == "PRUNED" for trial in found] == [above > 0 for above in excess]
    for one, other in zip(found, replayed.search._optuna.get_trials(), strict=True):
        assert (one.state, one.values, one.params) == (other.state, other.values, other.params)
        assert one.constraints == other.constraints


def test_points_of_a_grid_above_the_ceiling_fail_without_being_run() -> None:
    space = {"lr": {"type": "categorical", "choices": [0.1]}, "r": {"type": "int", "low": 1, "high": 4}}
    search = {"trials": None, "sampler": {"type": "grid"}, "max_trainable_parameters": 300}
    study = _study(space=space, search=search, variant={"method": "wst"}, final=None)
    ended = run_all(Planner(study, count_parameters=lambda variant, settings: 100 * int(settings["r"])))
    failed = [t for t in ended if t.outcome.state == "failed"]
    assert len(ended) == 4 and len(failed) == 1
    assert failed[0].outcome.error_text == "expected at most 300 trainable parameters; found 400"
    assert failed[0].outcome.attempts == 0


def test_grid_runs_every_combination_once() -> None:
    study = _study(
        trials=None,
        space={"lr": LR, "drop_path": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.2}},
        search={"trials": None, "sampler": {"type": "grid", "points": 3}},
    )
    ended = [t for t in run_all(Planner(study)) if t.intent.stage == "search"]
    found = {(t.intent.hyperparameters["lr"], t.intent.hyperparameters["drop_path"]) for t in ended}
    assert found == {(lr, drop) for lr in (1e-4, 0.00316228, 0.1) for drop in (0.0, 0.2, 0.4)}
    assert len(ended) == 9


def test_warm_start_may_be_a_list_for_every_task() -> None:
    points = [{"lr": 0.02}, {"lr": 0.03}]
    ended = run_all(Planner(_study(variant={"warm_start": points})))
    assert [t.intent.hyperparameters["lr"] for t in ended[:2]] == [0.02, 0.03]


def test_extended_search_goes_on_and_retrains_a_new_winner() -> None:
    def study(trials: int) -> Study:
        return _study(trials=trials)

    first = run_all(Planner(study(3)))
    planner = Planner(study(12), [t.intent for t in first], first)
    assert not planner.done
    more = run_all(planner)
    assert [t.intent.number for t in more if t.intent.stage == "search"] == list(range(3, 12))
    uncut = [t for t in run_all(Planner(study(12))) if t.intent.stage == "search"]
    searched = [t for t in [*first, *more] if t.intent.stage == "search"]
    assert [t.intent.hyperparameters for t in searched] == [t.intent.hyperparameters for t in uncut]
    best = planner.cells["digits", "linear"].best
    assert best is not None and best.trial.intent.number >= 3
    parents = [t.intent.parent for t in [*first, *more] if t.intent.stage == "final"]
    assert parents[2:] == [best.trial.intent.trial_id] * 2  # the old winner's rows stay
    assert len({t.intent.trial_id for t in [*first, *more]}) == 12 + 4


def test_repeats_that_are_run_again_wait_for_their_first_trial() -> None:
    space = {"lr": {"type": "categorical", "choices": [0.1, 0.01]}}
    study = _study(trials=4, space=space, final=None)
    planner = Planner(study)
    while not planner.done:
        intent = planner.ask()
        assert intent is not None
        error = Outcome("failed", error_type="ValueError")
        planner.finish(intent.trial_id, planner.settled(intent) or error)
    intents = [trial.intent for trial in planner.cells["digits", "linear"].ended["search"]]
    again = Planner(study, intents, [])
    first, second = again.ask(), again.ask()
    assert first is not None and second is not None
    assert {first.number, second.number} == {0, 1}
    assert again.ask() is None and not again.done
    for intent in (first, second):
        run_one(again, intent)
    later = [again.ask(), again.ask()]
    assert all(intent is not None and again.settled(intent) is not None for intent in later)


def test_trial_put_back_comes_again_first() -> None:
    planner = Planner(_study())
    first, second = planner.ask(), planner.ask()
    assert first is not None and second is not None
    planner.requeue(first.trial_id)
    assert planner.ask() == first


def test_seeds_of_one_final_can_be_asked_for_together() -> None:
    planner = Planner(_study(final={"seeds": 3}))
    run_all(planner, stop_after=6)
    first = planner.ask()
    assert first is not None and first.stage == "final"
    second, third = planner.ask_alike(first), planner.ask_alike(first)
    assert second is not None and third is not None
    assert [i.seed for i in (first, second, third)] == [1, 2, 3]
    assert planner.ask_alike(first) is None and planner.ask() is None
    again = Planner(
        planner.study,
        [*(t.intent for t in planner.cells["digits", "linear"].ended["search"]), first, second],
        planner.cells["digits", "linear"].ended["search"],
    )
    assert again.ask() == first and again.ask_alike(first) == second and again.ask_alike(first) == third


def test_weight_decay_is_searched_like_lr_and_drop_path() -> None:
    space = {"lr": LR, "weight_decay": {"type": "categorical", "choices": [0.0, 1e-3, 0.1]}}
    study = small_study(variants={"v": {"method": "linear", "space": space}}, search={"trials": 8})
    found = {trial.intent.hyperparameters["weight_decay"] for trial in run_all(Planner(study))}
    assert found <= {0.0, 1e-3, 0.1} and len(found) > 1
