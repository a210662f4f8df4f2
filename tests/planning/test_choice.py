"""Settings that tasks share: the same ones tried on each, chosen by the mean, trained again on all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import LR, small_study
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Hyperparameters, Intent, Outcome, stable_seed
from wst.study import Study

TASKS = ["digits", "sprite_loc", "emoji_group"]
FEW = {"lr": {"type": "categorical", "choices": [0.1, 0.01, 0.001]}}
POINTS = [{"lr": 0.02}, {"lr": 0.03}]
Score = Callable[[Intent], float | None]
"""Accuracy of a trial on val; None for one that fails."""


def _study(on: int = 2, trials: int = 4, space: Any = None, search: Any = None, **changes: Any) -> Study:
    variant = changes.pop("variant", {})
    shared = {"method": "wst", "space": space or {"lr": LR}, "settings": "shared", **variant}
    return small_study(
        tasks=TASKS[:on],
        variants={"base": shared, **changes.pop("variants", {})},
        search={"trials": trials, "sampler": {"type": "random"}, **(search or {})},
        **{"final": {"seeds": 1}, **changes},
    )


def _at_random(intent: Intent) -> float | None:
    """Tasks and settings differ, ties and failures come about."""
    drawn = stable_seed(intent.task, intent.stage, intent.seed, intent.hyperparameters["lr"])
    return None if drawn % 7 == 0 else drawn % 5 / 5


def _outcome(intent: Intent, score: Score) -> Outcome:
    top1 = score(intent)
    if top1 is None:
        return Outcome("failed", error_type="ValueError")
    val = (None, None) if intent.stage == "final" else (1 - top1, top1)
    parameters = 100 * int(intent.hyperparameters.get("r", 1))
    return Outcome("completed", (Epoch(4, 0.1, 1.0, *val, 0.0),), trainable_parameters=parameters)


def _run(planner: Planner, score: Score = _at_random, upto: int | None = None) -> list[EndedTrial]:
    """Run what is left, one trial at a time, or so many."""
    ended = []
    while (upto is None or len(ended) < upto) and (intent := planner.ask()) is not None:
        settled = planner.settled(intent)
        outcome = settled or _outcome(intent, score)
        planner.finish(intent.trial_id, outcome)
        ended.append(EndedTrial(intent, outcome))
    if upto is None:
        assert planner.done
    return ended


def _by_number(scores: dict[str, list[float | None]]) -> Score:
    """Of a search, each trial's score by task and number; 0.5 in the later stages."""
    return lambda intent: scores[intent.task][intent.number] if intent.stage == "search" else 0.5


def _searched(ended: list[EndedTrial]) -> dict[str, list[Hyperparameters]]:
    """The settings of the search by task, in the order of their numbers."""
    found: dict[str, list[Hyperparameters]] = {}
    for trial in sorted(ended, key=lambda trial: trial.intent.number):
        if trial.intent.stage == "search" and trial.intent.variant == "base":
            found.setdefault(trial.intent.task, []).append(trial.intent.hyperparameters)
    return found


def _parents(ended: list[EndedTrial], stage: str, variant: str = "base") -> dict[str, list[str]]:
    """Numbers of the search's trials whose settings a stage trained, by task."""
    found: dict[str, list[str]] = {}
    for intent in (trial.intent for trial in ended):
        if (intent.stage, intent.variant) == (stage, variant) and intent.parent:
            own = found.setdefault(intent.task, [])
            task, _, _, number = intent.parent.split(".")
            assert task == intent.task
            own += [] if number in own else [number]
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"search": {"sampler": {"type": "grid", "points": 4}}},
        {"variant": {"warm_start": POINTS}},
        {"space": FEW, "trials": 5},
    ],
    ids=["random", "grid", "warm start", "few settings"],
)
def test_every_task_tries_the_same_settings(changes: dict[str, Any]) -> None:
    ended = _run(Planner(_study(on=3, **changes)))
    digits, *others = _searched(ended).values()
    assert len(others) == 2 and all(other == digits for other in others)
    assert len(digits) == changes.get("trials", 4)
    assert len({settings["lr"] for settings in digits}) == (3 if "space" in changes else 4)
    first, second = (trial.intent for trial in ended[:2])
    assert second.reason == f"settings of {first.trial_id}, which tasks share" and first.parent is None


def test_settings_do_not_depend_on_which_task_is_asked_first() -> None:
    found = [_searched(_run(Planner(_study(on=1)))), _searched(_run(Planner(_study(on=2))))]
    other = _searched(_run(Planner(_study(on=1, seed=1))))
    assert found[0]["digits"] == found[1]["digits"] == found[1]["sprite_loc"] != other["digits"]
    moved = small_study(**{**_study().model_dump(mode="json"), "tasks": TASKS[1:]})
    assert _searched(_run(Planner(moved)))["emoji_group"] == found[0]["digits"]


def test_the_mean_over_tasks_chooses() -> None:
    scores = {"digits": [0.9, 0.1, 0.6, 0.99], "sprite_loc": [0.1, 0.9, 0.6, None]}
    planner = Planner(_study())
    ended = _run(planner, _by_number(scores))
    assert _parents(ended, "final") == {"digits": ["0002"], "sprite_loc": ["0002"]}
    assert {t.intent.reason for t in ended if t.intent.stage == "final"} == {"best of 4 on val over 2 tasks"}
    for cell in planner.cells.values():
        best = cell.best
        assert best is not None and best.val_top1 == pytest.approx(0.6)
        assert best.trial.intent.trial_id == f"{cell.task}.base.search.0002"
        assert [candidate for _, candidate in cell.chosen] == [best]


def test_later_stages_wait_for_all_tasks() -> None:
    planner = Planner(_study(confirm={"top": 2, "seeds": 2}))
    stages = [trial.intent.stage for trial in _run(planner, lambda intent: 0.5)]
    assert stages == ["search"] * 2 * 4 + ["confirm"] * 2 * 2 * 2 + ["final"] * 2
    cells = list(planner.cells.values())
    assert all(cell.remaining == 0 for cell in cells)
    again = Planner(_study(confirm={"top": 2, "seeds": 2}))
    _run(again, lambda intent: 0.5, upto=7)
    digits, sprites = again.cells.values()
    assert digits.searched and not sprites.searched
    assert not digits.ready("confirm") and digits.openings("confirm") == [] and digits.chosen == []
    assert [digits.planned("confirm"), digits.planned("final")] == [4, 1]
    _run(again, lambda intent: 0.5, upto=1 + 7)
    assert {digits.pending("confirm"), sprites.pending("confirm")} == {0, 1}
    assert not digits.ready("final") and not sprites.ready("final") and digits.chosen == []


def test_confirming_trials_of_all_tasks_choose() -> None:
    search: dict[str, list[float | None]] = {
        "digits": [0.9, 0.8, 0.7, 0.1],
        "sprite_loc": [0.5, 0.5, 0.5, 0.9],
    }
    confirm = {("digits", "0000"): 0.9, ("digits", "0001"): 0.2, ("digits", "0002"): 0.4}
    confirm |= {("sprite_loc", "0000"): None, ("sprite_loc", "0001"): 0.9, ("sprite_loc", "0002"): 0.6}

    def score(intent: Intent) -> float | None:
        if intent.stage == "search":
            return search[intent.task][intent.number]
        assert intent.parent is not None
        return confirm[intent.task, intent.parent[-4:]] if intent.stage == "confirm" else 0.5

    planner = Planner(_study(confirm={"top": 3, "seeds": 2}))
    ended = _run(planner, score)
    assert _parents(ended, "confirm") == {task: ["0000", "0001", "0002"] for task in TASKS[:2]}
    reasons = [t.intent.reason for t in ended if t.intent.stage == "confirm" and t.intent.seed == 1001]
    assert reasons == [f"number {place} of 4 on val over 2 tasks" for place in (1, 2, 3)] * 2
    # 0000 is out on one task and so on both; of the others the means are 0.55 and 0.5.
    assert _parents(ended, "final") == {"digits": ["0001"], "sprite_loc": ["0001"]}
    finals = [trial.intent for trial in ended if trial.intent.stage == "final"]
    assert {i.reason for i in finals} == {"best of 4 on val over 2 tasks, by the mean of 2 more seeds"}
    best = planner.cells["digits", "base"].best
    assert best is not None and best.val_top1 == pytest.approx(0.55)


def test_settings_that_fail_on_a_task_win_nothing() -> None:
    scores: dict[str, list[float | None]] = {
        "digits": [0.9, None, 0.9, 0.9],
        "sprite_loc": [None, 0.9, None, None],
    }
    planner = Planner(_study())
    ended = _run(planner, _by_number(scores))
    assert planner.done and Counter(trial.intent.stage for trial in ended) == {"search": 8}
    assert all(cell.best is None and cell.chosen == [] for cell in planner.cells.values())


def test_ties_go_by_the_means_too_and_then_to_the_earlier() -> None:
    scores: dict[str, list[float | None]] = {
        "digits": [0.1, 0.4, 0.6, 0.2],
        "sprite_loc": [0.2, 0.6, 0.4, 0.1],
    }
    for ties in ("val_loss", "trainable_parameters", "earlier"):
        ended = _run(Planner(_study(ties=ties)), _by_number(scores))
        assert _parents(ended, "final") == {"digits": ["0001"], "sprite_loc": ["0001"]}


def test_shared_settings_are_taken_over_on_every_task() -> None:
    taker = {"method": "wst", "settings_from": "base", "fixed": {"r": 4}}
    planner = Planner(_study(variants={"taker": taker}))
    scores: dict[str, list[float | None]] = {
        "digits": [0.9, 0.1, 0.6, 0.2],
        "sprite_loc": [0.1, 0.9, 0.6, 0.1],
    }
    ended = _run(planner, _by_number(scores))
    chosen = {"digits": ["0002"], "sprite_loc": ["0002"]}
    assert _parents(ended, "final") == _parents(ended, "final", "taker") == chosen
    taken = [trial.intent for trial in ended if trial.intent.variant == "taker"]
    assert [intent.hyperparameters["r"] for intent in taken] == [4, 4]
    assert len({intent.hyperparameters["lr"] for intent in taken}) == 1
    assert taken[0].reason == "settings found for base (best of 4 on val over 2 tasks)"


def test_a_front_has_the_same_members_on_every_task() -> None:
    objectives = ["val_top1", "trainable_parameters"]
    space = {"lr": LR, "r": {"type": "int", "low": 1, "high": 3}}
    for top in (5, 1):
        study = _study(3, 8, space, {"objectives": objectives}, confirm={"top": top, "seeds": 1})
        ended = _run(Planner(study), lambda intent: 0.1 * int(intent.hyperparameters["r"]))
        chosen = _parents(ended, "final")
        assert len({tuple(members) for members in chosen.values()}) == 1 and len(chosen) == 3
        assert len(chosen["digits"]) == (3 if top == 5 else 1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"search": {"sampler": {"type": "grid", "points": 4}}},
        {"space": FEW, "trials": 5, "variant": {"warm_start": [{"lr": 0.01}]}},
    ],
    ids=["random", "grid", "few settings"],
)
def test_a_replay_goes_on_as_the_uncut_study_at_every_cut(changes: dict[str, Any]) -> None:
    taker = {"method": "wst", "settings_from": "base", "fixed": {"r": 4}}
    study = _study(**changes, confirm={"top": 2, "seeds": 1}, variants={"taker": taker})
    whole = _run(Planner(study))
    assert {trial.intent.stage for trial in whole} == {"search", "confirm", "final"}
    for cut in range(len(whole) + 1):
        for begun in (0, 1):
            again = Planner(study, [trial.intent for trial in whole[: cut + begun]], whole[:cut])
            # Of trials, since settings that come again end when they come.
            found = [*whole[:cut], *_run(again)]
            assert [trial.intent for trial in found] == [trial.intent for trial in whole]


def test_a_lost_trial_comes_again_with_the_settings_of_the_other_tasks() -> None:
    study = _study(final=None)
    whole = _run(Planner(study))
    lost = [trial for trial in whole if trial.intent.trial_id != "digits.base.search.0001"]
    again = _run(Planner(study, [trial.intent for trial in lost], lost))
    assert _searched([*lost, *again]) == _searched(whole)


def test_settings_that_run_on_a_task_are_tried_on_the_next_meanwhile() -> None:
    planner = Planner(_study(on=3))
    asked = [planner.ask() for _ in range(3)]
    assert len({repr(intent.hyperparameters) for intent in asked if intent}) == 1
    assert [intent.task for intent in asked if intent] == TASKS


def test_more_trials_and_more_tasks_choose_anew() -> None:
    scores: dict[str, list[float | None]] = {
        "digits": [0.9, 0.6, 0.5, 0.95],
        "sprite_loc": [0.9, 0.6, 0.5, 0.9],
        "emoji_group": [0.1, 0.1, 1.0, 0.0],
    }
    score = _by_number(scores)
    ended = _run(Planner(_study(trials=3)), score)
    assert _parents(ended, "final") == {"digits": ["0000"], "sprite_loc": ["0000"]}
    ended += _run(Planner(_study(trials=4), [t.intent for t in ended], ended), score)
    assert _parents(ended, "final") == {"digits": ["0000", "0003"], "sprite_loc": ["0000", "0003"]}
    planner = Planner(_study(on=3, trials=4), [t.intent for t in ended], ended)
    assert planner.cells["digits", "base"].chosen == []  # the new task has its say
    ended += _run(planner, score)
    found = _searched(ended)
    assert found["emoji_group"] == found["digits"]
    old = ["0000", "0003", "0002"]
    assert _parents(ended, "final") == {"digits": old, "sprite_loc": old, "emoji_group": ["0002"]}
