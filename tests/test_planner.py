from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import LR, small_study
from tests.synthetic import curve, run_all, run_one
from wst.planner import Planner
from wst.records import EndedTrial, Outcome


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
        best = cell.best()
        assert best is not None
        finals = [t for t in ended if t.intent.stage == "final" and t.intent.variant == cell.variant]
        assert {t.intent.parent for t in finals} == {best.intent.trial_id}
        assert all(t.intent.hyperparameters == best.intent.hyperparameters for t in finals)
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
    best = cell.best()
    assert best is not None and best.intent.number == 1


def test_settings_from_another_variant_wait_for_its_search() -> None:
    study = small_study(
        variants={
            "wst-r2": {"method": "wst", "space": {"lr": LR}, "fixed": {"r": 2, "scale": 0.5}},
            "wst-r4": {"method": "wst", "settings_from": "wst-r2", "fixed": {"r": 4}},
        }
    )
    planner = Planner(study)
    ended = run_all(planner)
    best = planner.cells["digits", "wst-r2"].best()
    assert best is not None
    copies = [t.intent for t in ended if t.intent.variant == "wst-r4"]
    assert len(copies) == 2
    for intent in copies:
        assert intent.parent == best.intent.trial_id
        assert intent.reason == "settings found for wst-r2 (best of 6 on val200)"
        assert intent.hyperparameters == {"drop_path": 0.0, "r": 4, "lr": best.intent.hyperparameters["lr"]}
    assert [t.intent.variant for t in ended][:6] == ["wst-r2"] * 6


def test_fixed_study_needs_no_search() -> None:
    study = small_study(
        variants={"linear": {"method": "linear", "fixed": {"lr": 0.01}}}, search=None, final={"seeds": 3}
    )
    ended = run_all(Planner(study))
    assert [t.intent.stage for t in ended] == ["final"] * 3
    assert ended[0].intent.hyperparameters == {"drop_path": 0.0, "lr": 0.01}


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


@pytest.mark.parametrize("sampler", [{"type": "tpe", "n_startup_trials": 3}, {"type": "random"}])
@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_replay_goes_on_as_the_uncut_study(sampler: dict[str, Any], data: st.DataObject) -> None:
    study = small_study(search={**_HALVING, "trials": 10, "sampler": sampler})
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
