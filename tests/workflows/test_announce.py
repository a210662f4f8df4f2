from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LR, small_study
from tests.synthetic import run_all
from wst.planning.planner import Planner
from wst.study import load_study
from wst.workflows.announce import announcement, not_done


def test_the_first_line_counts_what_the_planner_does() -> None:
    study = small_study(tasks=["digits", "sprite_loc"], search={"trials": 6, "sampler": {"type": "random"}})
    assert announcement(study, Path("runs/small")) == (
        "Study small: 2 variants x 2 tasks on micro, 32 trials (search 24, final 8), into runs/small"
    )
    assert len(run_all(Planner(study))) == 32
    confirmed = study.model_copy(update={"confirm": small_study(confirm={"top": 2, "seeds": 3}).confirm})
    assert "56 trials (search 24, confirm 24, final 8)" in announcement(confirmed, Path("o"))
    assert len(run_all(Planner(confirmed))) == 56


RANDOM = {"type": "random"}
HALVING = {"type": "successive_halving", "min_resource": 1}


def _tpe(**changes: object) -> dict[str, Any]:
    return {"search": {"trials": 8, "sampler": {"type": "tpe", "n_startup_trials": 4}, **changes}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (_tpe(), []),
        (_tpe(trials=5), []),
        (_tpe(trials=4), ["4 trials a cell under tpe with n_startup_trials 4 are a random search"]),
        (_tpe(sampler={"type": "gp"}), ["8 trials a cell under gp with n_startup_trials 10 are a random"]),
        (_tpe(sampler={"type": "nsga2"}), ["8 trials a cell under nsga2 with population_size 20 are a ran"]),
        (_tpe(sampler={"type": "random"}), []),
        (_tpe(sampler={"type": "grid", "points": 2}), ["8 trials are asked for, and the grid has 2 points"]),
        (_tpe(sampler={"type": "grid", "points": 9}), ["8 of the grid's 9 points are tried"]),
        (_tpe(sampler={"type": "grid", "points": 8}), []),
        (_tpe(pruner={"type": "successive_halving", "min_resource": 2}), []),
        (
            _tpe(trials=3, sampler=RANDOM, pruner=HALVING | {"reduction_factor": 2}),
            ["lets about 1 of 3 trials a cell complete, so that the pruner chooses"],
        ),
        (_tpe(pruner=HALVING), []),
        (_tpe(pruner=HALVING) | {"confirm": {"top": 3}}, ["top is 3, and about 2 settings a cell complete"]),
        (
            _tpe(pruner={"type": "successive_halving", "min_resource": 4}),
            ["successive_halving prunes nothing: its first rung is not before epoch 4"],
        ),
        (_tpe(pruner={"type": "median", "n_startup_trials": 2}), []),
        (_tpe(pruner={"type": "median", "n_startup_trials": 8}), ["median prunes nothing in 8 trials of 4"]),
        (
            _tpe(pruner={"type": "median", "n_warmup_epochs": 3}),
            ["median prunes nothing in 8 trials of 4"],
        ),
        (_tpe() | {"confirm": {"top": 8}}, []),
        (_tpe() | {"confirm": {"top": 9}}, ["top is 9, and about 8 settings a cell complete"]),
        ({"search": None, "variants": {"a": {"method": "linear", "fixed": {"lr": 0.1}}}}, []),
    ],
)
def test_what_the_file_says_and_the_study_will_not_do(changes: dict[str, Any], expected: list[str]) -> None:
    variants = {"variants": {"linear": {"method": "linear", "space": {"lr": LR}}}}
    found = not_done(small_study(**(variants | changes)))
    assert len(found) == len(expected)
    for line, words in zip(found, expected, strict=True):
        assert line.startswith("note: ") and words in line and "\n" not in line


def test_a_note_names_the_variants_it_is_true_of() -> None:
    found = not_done(small_study(search={"trials": 3, "sampler": {"type": "grid", "points": 3}}))
    assert found == ["note: search: 3 of the grid's 6 points are tried (wst-r2)"]


def test_as_many_trials_complete_as_a_note_says() -> None:
    """Successive halving on forty tasks' random curves."""
    completed = []
    for seed in range(40):
        study = small_study(
            seed=seed,
            variants={"linear": {"method": "linear", "space": {"lr": LR}}},
            search={"trials": 9, "sampler": RANDOM, "pruner": HALVING | {"reduction_factor": 2}},
            confirm={"top": 9, "seeds": 1},
            final=None,
        )
        rows = run_all(Planner(study))
        completed.append(sum(r.intent.stage == "search" and r.outcome.state == "completed" for r in rows))
    (note,) = not_done(study)
    assert "about 3 settings a cell complete" in note and sum(completed) / 40 == pytest.approx(3, abs=0.6)


@pytest.mark.parametrize("name", ["demo", "leaderboard-mini", "leaderboard-vtab1k", "vtab1k-vit-base"])
def test_shipped_studies_do_what_they_say(name: str) -> None:
    assert not_done(load_study(name)) == []
