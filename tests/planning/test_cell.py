"""A cell alone: what it waits for, what can begin, what it chose, and that it works out nothing twice."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tests.conftest import LR, small_study
from tests.synthetic import run_all
from wst.planning import cell as module
from wst.planning import choice
from wst.planning.cell import Cell
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Hyperparameters, Intent, Outcome, Stage, State

SEEDS: dict[Stage, range] = {"search": range(1), "confirm": range(1001, 1003), "final": range(1, 4)}
VARIANTS: dict[str, Any] = {
    "base": {"method": "wst", "space": {"lr": LR}, "fixed": {"r": 2, "drop_path": 0.1}},
    "copy": {"method": "wst", "settings_from": "base", "fixed": {"r": 4}},
    "fixed": {"method": "linear", "fixed": {"lr": 0.01}},
}


def _cell(variant: str = "base", giver: Cell | None = None, **changes: Any) -> Cell:
    asked = {"variants": VARIANTS, "search": {"trials": 4, "sampler": {"type": "random"}}, **changes}
    study = small_study(**{"confirm": {"top": 2, "seeds": 2}, "final": {"seeds": 3}, **asked})
    seeds = SEEDS if study.confirm else {**SEEDS, "confirm": range(0)}
    return Cell(study, "digits", variant, seeds, giver)


def _asked(cell: Cell) -> Intent:
    """The cell's next trial of the search, begun."""
    intent = cell.search_intent(ask_order=0, above=lambda settings: False)
    assert intent is not None
    cell.begin(intent)
    return intent


def _end(cell: Cell, intent: Intent, top1: float, state: State = "completed") -> None:
    outcome = Outcome(state, (Epoch(4, 0.1, 1.0, 1 - top1, top1, 0.0),), trainable_parameters=100)
    cell.end(EndedTrial(intent, outcome))


def _search(cell: Cell, *accuracies: float) -> list[str]:
    """Runs trials of the search; their ids."""
    ids = []
    for top1 in accuracies:
        intent = _asked(cell)
        _end(cell, intent, top1)
        ids.append(intent.trial_id)
    return ids


def _run_confirm(cell: Cell, accuracies: dict[str, float]) -> None:
    """Runs every confirming trial that can begin, with the accuracy that its settings' trial has here."""
    for opening in list(cell.openings("confirm")):
        intent = cell.later_intent("confirm", opening, ask_order=0)
        cell.begin(intent)
        assert intent.parent is not None
        _end(cell, intent, accuracies[intent.parent])


def _all_that_is_known(cell: Cell) -> tuple[object, ...]:
    return (
        *(cell.openings(stage) for stage in module.LATER),
        *(cell.candidates(stage) for stage in module.LATER),
        *(cell.planned(stage) for stage in module.STAGES),
        cell.remaining,
        cell.best,
        cell.chosen,
    )


def test_stages_open_one_after_another() -> None:
    cell = _cell()
    assert cell.source is cell and cell.searching and not cell.searched
    assert [cell.planned(stage) for stage in module.STAGES] == [4, 2 * 2, 3] and cell.remaining == 11
    ids = _search(cell, 0.5, 0.9, 0.7)
    last = _asked(cell)
    assert not cell.searching and not cell.ready("confirm") and cell.openings("confirm") == []
    _end(cell, last, 0.1)
    assert cell.searched and cell.ready("confirm") and not cell.ready("final")
    assert [(o.parent, o.seed) for o in cell.openings("confirm")] == [
        (parent, seed) for parent in (ids[1], ids[2]) for seed in (1001, 1002)
    ]
    assert cell.openings("final") == [] and cell.chosen == [] and cell.remaining == 7
    assert cell.best is not None and cell.best.trial.intent.trial_id == ids[1]
    _run_confirm(cell, {ids[1]: 0.6, ids[2]: 0.8})
    assert cell.pending("confirm") == 0 and cell.ready("final")
    assert [(o.parent, o.seed) for o in cell.openings("final")] == [(ids[2], seed) for seed in (1, 2, 3)]
    assert cell.best is not None and cell.best.trial.intent.trial_id == ids[2] and cell.remaining == 3


def test_intents_carry_the_cells_names_numbers_and_reasons() -> None:
    cell = _cell()
    first = _asked(cell)
    assert (first.trial_id, first.seed, first.parent) == ("digits.base.search.0000", 0, None)
    assert first.reason == "suggested by the sampler"
    assert set(first.hyperparameters) == {"lr", "r", "drop_path", "weight_decay"}
    _end(cell, first, 0.9)
    _search(cell, 0.5, 0.6, 0.7)
    confirm = cell.later_intent("confirm", cell.openings("confirm")[2], ask_order=7)
    assert (confirm.trial_id, confirm.ask_order) == ("digits.base.confirm.0000", 7)
    assert (confirm.parent, confirm.reason) == ("digits.base.search.0003", "number 2 of 4 on val")
    _run_confirm(cell, {first.trial_id: 0.9, "digits.base.search.0003": 0.8})
    final = cell.later_intent("final", cell.openings("final")[0], ask_order=8)
    assert (final.parent, final.seed) == (first.trial_id, 1)
    assert final.hyperparameters == first.hyperparameters
    assert final.reason == "best of 4 on val, by the mean of 2 more seeds"


def test_fixed_settings_wait_for_nothing() -> None:
    cell = _cell("fixed")
    assert cell.source is None and not cell.searching and cell.ready("final")
    assert cell.planned("search") == cell.planned("confirm") == 0 and cell.remaining == 3
    assert cell.best is None and cell.candidates("final") == [] and cell.chosen == [({"lr": 0.01}, None)]
    assert cell.openings("confirm") == []
    assert [(o.candidate, o.parent, o.seed) for o in cell.openings("final")] == [
        (None, None, seed) for seed in (1, 2, 3)
    ]
    intent = cell.later_intent("final", cell.openings("final")[0], ask_order=0)
    assert intent.reason == "fixed in the study"
    assert intent.hyperparameters == {"weight_decay": 0.05, "drop_path": 0.0, "lr": 0.01}


def test_settings_are_taken_over_once_the_giver_has_chosen() -> None:
    giver = _cell(confirm=None)
    taker = _cell("copy", giver, confirm=None)
    assert taker.source is giver and taker.planned("final") == taker.remaining == 3
    assert not taker.ready("final") and taker.openings("final") == [] and taker.chosen == []
    ids = _search(giver, 0.5, 0.9, 0.7, 0.1)
    assert taker.ready("final") and taker.candidates("final") is giver.candidates("final")
    assert taker.best is None  # it has no search of its own
    ((settings, candidate),) = taker.chosen
    assert candidate is not None and candidate.trial.intent.trial_id == ids[1]
    lr = candidate.trial.intent.hyperparameters["lr"]
    assert settings == {"weight_decay": 0.05, "lr": lr, "r": 4}  # what the giver fixes stays with it
    intent = taker.later_intent("final", taker.openings("final")[0], ask_order=0)
    assert intent.hyperparameters == settings | {"drop_path": 0.0} and intent.parent == ids[1]
    assert intent.reason == "settings found for base (best of 4 on val)"


def test_settings_taken_over_are_confirmed_by_the_giver_alone() -> None:
    giver = _cell()
    taker = _cell("copy", giver)
    ids = _search(giver, 0.5, 0.9, 0.7, 0.1)
    assert len(giver.openings("confirm")) == 4 and taker.openings("confirm") == []
    assert taker.planned("confirm") == 0 and not taker.ready("final")
    _run_confirm(giver, {ids[1]: 0.6, ids[2]: 0.8})
    assert {opening.parent for opening in taker.openings("final")} == {ids[2]}


def test_openings_that_began_are_gone() -> None:
    cell = _cell("fixed")
    for left in (2, 1, 0):
        cell.begin(cell.later_intent("final", cell.openings("final")[0], ask_order=0))
        assert len(cell.openings("final")) == left
    assert cell.planned("final") == cell.pending("final") == cell.remaining == 3  # begun, and not ended


def test_settings_above_a_ceiling_are_asked_for_again() -> None:
    seen: list[Hyperparameters] = []

    def above(settings: Hyperparameters) -> bool:
        seen.append(settings)
        return len(seen) < 3

    intent = _cell().search_intent(0, above)
    assert intent is not None and len(seen) == 3 and intent.hyperparameters == seen[-1]
    assert all(settings["drop_path"] == 0.1 for settings in seen)  # whole configurations


def test_settings_that_run_make_the_cell_wait_until_a_trial_ends() -> None:
    space = {"lr": {"type": "categorical", "choices": [0.1]}}
    cell = _cell(variants={"base": {"method": "linear", "space": space}})
    first = _asked(cell)
    assert cell.first(first.hyperparameters) is None
    assert cell.search_intent(1, lambda settings: False) is None and cell.waiting and not cell.searching
    _end(cell, first, 0.5)
    assert cell.searching
    ended = cell.first(first.hyperparameters)
    assert ended is not None and ended.intent == first
    again = _asked(cell)
    assert (again.number, again.parent) == (1, first.trial_id)
    assert again.reason == "settings of digits.base.search.0000 again, which is not run twice"


def test_trials_are_counted_by_stage_and_state() -> None:
    cell = _cell()
    for state in ("completed", "failed", "failed"):
        _end(cell, _asked(cell), 0.5, state)  # type: ignore[arg-type]
    assert (cell.count("search"), cell.count("search", "failed"), cell.count("final")) == (3, 2, 0)
    assert cell.counts == Counter({("search", "failed"): 2, ("search", "completed"): 1})


def test_every_change_raises_the_version_also_that_of_cells_that_take_settings_over() -> None:
    giver = _cell()
    taker, other = _cell("copy", giver), _cell("fixed")
    versions = [(giver.version, taker.version)]
    for top1 in (0.5, 0.9):
        intent = _asked(giver)
        versions.append((giver.version, taker.version))
        _end(giver, intent, top1)
        versions.append((giver.version, taker.version))
    for before, after in pairwise(versions):
        assert after[0] > before[0] and after[1] > before[1]
    taker.begin(Intent("digits.copy.final.0000", "digits", "copy", "final", 0, 9, 1, {}))
    assert taker.version > versions[-1][1] and giver.version == versions[-1][0] and other.version == 0


def test_nothing_is_worked_out_twice_without_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counting(name: str, function: Any) -> Any:
        def counted(*args: Any) -> Any:
            calls[name] += 1
            return function(*args)

        return counted

    for name in ("candidates", "front", "confirmed"):
        monkeypatch.setattr(choice, name, counting(name, getattr(choice, name)))
    monkeypatch.setattr(Cell, "_find_openings", counting("openings", Cell._find_openings))
    monkeypatch.setattr(Cell, "planned", counting("planned", Cell.planned))
    giver = _cell()
    taker = _cell("copy", giver)
    ids = _search(giver, 0.5, 0.9, 0.7, 0.1)
    _run_confirm(giver, {ids[1]: 0.6, ids[2]: 0.8})
    assert calls["candidates"] == 1  # for four confirming trials that began and ended
    first = [cell.openings("final") for cell in (giver, taker)], giver.remaining, taker.remaining
    before = calls.copy()
    again = [cell.openings("final") for cell in (giver, taker)], giver.remaining, taker.remaining
    assert first == again and calls == before and all(a is b for a, b in zip(first[0], again[0], strict=True))
    taker.begin(taker.later_intent("final", taker.openings("final")[0], ask_order=0))
    assert len(taker.openings("final")) == 2 and len(giver.openings("final")) == 3
    assert calls["openings"] == before["openings"] + 1  # the giver's are still known
    assert (calls["front"], calls["confirmed"]) == (before["front"], before["confirmed"])


def test_what_is_kept_is_what_a_fresh_cell_finds() -> None:
    """A cell that is asked everything after every change says what one that was never asked before says."""
    givers, takers = [], []

    def replayed(events: list[tuple[str, Any]], upto: int) -> tuple[Cell, Cell]:
        giver = _cell()
        taker = _cell("copy", giver)
        for what, event in events[:upto]:
            cell = giver if (event if what == "begin" else event.intent).variant == "base" else taker
            cell.begin(event) if what == "begin" else cell.end(event)
        return giver, taker

    giver = _cell()
    taker = _cell("copy", giver)
    events: list[tuple[str, Any]] = []

    def note(what: str, event: Any) -> None:
        events.append((what, event))
        givers.append(_all_that_is_known(giver))
        takers.append(_all_that_is_known(taker))

    def run(cell: Cell, intent: Intent, top1: float) -> None:
        cell.begin(intent)
        note("begin", intent)
        _end(cell, intent, top1)
        note("end", cell.ended[intent.stage][-1])

    for top1 in (0.5, 0.9, 0.7, 0.1):
        intent = giver.search_intent(0, lambda settings: False)
        assert intent is not None
        run(giver, intent, top1)
    for cell, stage in ((giver, "confirm"), (giver, "final"), (taker, "final")):
        for place, opening in enumerate(cell.openings(stage)):  # type: ignore[arg-type]
            run(cell, cell.later_intent(stage, opening, 0), 0.6 + place / 10)  # type: ignore[arg-type]
    assert giver.remaining == taker.remaining == 0 and len(events) == 2 * (4 + 4 + 3 + 3)
    for place in range(len(events)):
        fresh_giver, fresh_taker = replayed(events, place + 1)
        assert _all_that_is_known(fresh_giver) == givers[place]
        assert _all_that_is_known(fresh_taker) == takers[place]


@pytest.mark.parametrize("sampler", [{"type": "grid", "points": 6}, {"type": "random"}])
def test_a_search_that_has_lost_a_trial_asks_for_that_one_again(sampler: dict[str, object]) -> None:
    """Its number is the lowest that is free; no other trial gets a name that is taken."""
    study = small_study(
        variants={"linear": {"method": "linear", "space": {"lr": LR}}},
        search={"trials": 6, "sampler": sampler},
        final=None,
    )
    whole = run_all(Planner(study))
    left = [trial for trial in whole if trial.intent.number not in (1, 4)]
    rest = run_all(Planner(study, [trial.intent for trial in left], left))
    assert [trial.intent.number for trial in rest] == [1, 4]
    assert [trial.intent.hyperparameters for trial in rest] == [
        whole[number].intent.hyperparameters for number in (1, 4)
    ]
    assert [trial.intent.ask_order for trial in rest] == [6, 7]


def test_of_several_objectives_the_front_alone_is_confirmed_and_trained() -> None:
    objectives = ["val_top1", "train_seconds"]
    cell = _cell(search={"trials": 4, "sampler": {"type": "random"}, "objectives": objectives})
    ids = []
    for top1, seconds in ((0.9, 5.0), (0.8, 6.0), (0.7, 2.0), (0.6, 9.0)):
        intent = _asked(cell)
        epochs = (Epoch(4, 0.1, 1.0, 1 - top1, top1, 0.0),)
        cell.end(EndedTrial(intent, Outcome("completed", epochs, train_seconds=seconds)))
        ids.append(intent.trial_id)
    assert [one.trial.intent.trial_id for one in cell.candidates("confirm")] == [ids[0], ids[2]]
    _run_confirm(cell, {ids[0]: 0.5, ids[2]: 0.6})
    assert [one.trial.intent.trial_id for one in cell.candidates("final")] == [ids[2]]  # better, and quicker
    final = cell.later_intent("final", cell.openings("final")[0], ask_order=0)
    assert final.reason == "on the front of 4 on val, by the mean of 2 more seeds"


def test_a_search_that_had_more_trials_than_are_asked_for_has_had_them() -> None:
    cell = _cell(search={"trials": 1, "sampler": {"type": "random"}})
    for number in range(3):
        intent = Intent(
            f"digits.base.search.{number:04d}", "digits", "base", "search", number, number, 0, {"lr": 0.1}
        )
        cell.begin(intent)
    assert cell.planned("search") == cell.pending("search") == 3 and not cell.searching
