"""A hyperparameter with a value for each block, from its space to the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.leaderboard.board import read_leaderboard
from analysis.load import studies_of
from analysis.search.importance import importances
from analysis.search.trials import read_search
from tests.conftest import LR, small_study
from tests.ledger.processes import CODE, write
from tests.synthetic import run_all
from wst.export.optuna import export_optuna
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.simulation.recording import Recording
from wst.study import Study
from wst.study.space import expanded, gathered, spread
from wst.study.variant import FromLedger
from wst.workflows.best import study_without_search
from wst.workflows.warm_start import resolve_warm_starts

METHOD = """
def adapt(backbone, *, sizes: tuple[int, ...] = (1, 1, 1)):
    return backbone
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "own.py").write_text(METHOD)
    space: dict[str, Any] = {"lr": LR, "sizes[0..2]": {"type": "int", "low": 0, "high": 20}}
    variant = {"method": str(tmp_path / "own.py"), "space": space, "warm_start": [{"sizes": [1, 2, 3]}]}
    return small_study(variants={"own": variant}, search={"trials": 8, "sampler": {"type": "random"}})


def test_places_are_searched_each_and_reach_the_trial_as_one_tuple(study: Study) -> None:
    assert list(study.variants["own"].space or {}) == ["lr", "sizes[0]", "sizes[1]", "sizes[2]"]
    ended = run_all(Planner(study))
    found = [trial.intent.hyperparameters["sizes"] for trial in ended if trial.intent.stage == "search"]
    assert found[0] == (1, 2, 3) and len(set(found)) == 8
    assert all(isinstance(sizes, tuple) and len(sizes) == 3 for sizes in found)


def test_a_ledger_keeps_lists_and_a_study_goes_on_with_them(study: Study, tmp_path: Path) -> None:
    whole = run_all(Planner(study))
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        write(ledger, run_all(Planner(study), stop_after=4))
        write(ledger, run_all(Planner(study, *history(tmp_path / "s"))))
    again = [trial.intent.hyperparameters for trial in history(tmp_path / "s")[1]]
    assert again == [trial.intent.hyperparameters for trial in whole]
    studies = studies_of([tmp_path / "s"])
    trials, _ = read_search([tmp_path / "s"], studies)
    assert trials["hp_sizes[1]"].tolist() == [h["sizes"][1] for h in again[:8]]  # type: ignore[index]
    names = {name for one in importances(trials, studies) for name in one.shares}
    assert {"sizes[0]", "sizes[2]"} <= names
    assert "sizes (" in read_leaderboard([tmp_path / "s"]).rows[0].settings().shown
    (tries,) = export_optuna(tmp_path / "s", tmp_path / "study.db").values()
    assert tries == 8
    assert "sizes:" in study_without_search(tmp_path / "s")


def test_places_begin_with_zero() -> None:
    for wrong in ("sizes[1..3]", "sizes[0..0]"):
        with pytest.raises(ValueError, match=r"expected places from 0 upwards, such as \[0..11\]"):
            expanded({wrong: LR})
    with pytest.raises(ValueError, match="in both"):
        variant = {"method": "own.py", "fixed": {"sizes": [1, 2]}, "space": {"lr": LR, "sizes[0..1]": LR}}
        small_study(variants={"own": variant})


def test_spreading_and_gathering_are_each_others_reverse() -> None:
    settings = {"lr": 0.1, "sizes": (1, 2, 3), "kind": "x"}
    assert gathered(spread(settings)) == settings
    assert spread(settings) == {"lr": 0.1, "sizes[0]": 1, "sizes[1]": 2, "sizes[2]": 3, "kind": "x"}


def test_gaps_and_conditions_on_single_places_are_refused() -> None:
    whole = {"type": "int", "low": 0, "high": 5}
    for space, expected in (
        ({"sizes[0]": whole, "sizes[2]": whole}, r"expected sizes\[0\] to sizes\[2\].*found no sizes\[1\]"),
        (
            {"k": whole, "sizes[0..1]": {**whole, "when": {"k": [1]}}},
            "expected no condition on a single place",
        ),
    ):
        with pytest.raises(ValueError, match=expected):
            small_study(variants={"own": {"method": "own.py", "space": {"lr": LR, **space}}})
    assert gathered({"sizes[1]": 1, "lr": 0.1, "sizes[0]": 2}) == {"sizes": (2, 1), "lr": 0.1}


def test_whole_lists_can_be_choices(study: Study, tmp_path: Path) -> None:
    space = {"lr": LR, "sizes": {"type": "categorical", "choices": [[1, 1, 1], [2, 2, 2]]}}
    method = study.variants["own"].method
    variants = {"own": {"method": method, "space": space, "warm_start": [{"sizes": [2, 2, 2]}]}}
    for sampler in ({"type": "tpe", "n_startup_trials": 2}, {"type": "grid", "points": 2}):
        asked = small_study(variants=variants, search={"trials": 4, "sampler": sampler}, name=sampler["type"])
        whole = run_all(Planner(asked))
        found = {t.intent.hyperparameters["sizes"] for t in whole}
        assert found <= {(1, 1, 1), (2, 2, 2)} and found
        out = tmp_path / str(sampler["type"])
        with Ledger(out, asked, CODE) as ledger:
            write(ledger, run_all(Planner(asked), stop_after=2))
            write(ledger, run_all(Planner(asked, *history(out))))
        again = [t.intent.hyperparameters for t in history(out)[1]]
        assert again == [t.intent.hyperparameters for t in whole]
        trials, _ = read_search([out], studies_of([out]))
        assert set(trials["hp_sizes"]) <= {"[1, 1, 1]", "[2, 2, 2]"}
        importances(trials, studies_of([out]))
        export_optuna(out, tmp_path / f"{sampler['type']}.db")
    assert len(Recording([out]).cells(asked)) == 1  # the grid covers the space


def test_another_studys_lists_are_where_a_search_begins(study: Study, tmp_path: Path) -> None:
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        write(ledger, run_all(Planner(study)))
    own = study.variants["own"].model_copy(
        update={"warm_start": FromLedger(ledger=str(tmp_path / "s"), top=1)}
    )
    second = resolve_warm_starts(study.model_copy(update={"variants": {"own": own}}))
    best = max(
        (
            t
            for t in history(tmp_path / "s")[1]
            if t.intent.stage == "search" and t.outcome.state == "completed"
        ),
        key=lambda t: t.outcome.epochs[-1].val_top1 or 0.0,
    )
    first = Planner(second).ask()
    assert first is not None and first.hyperparameters["sizes"] == best.intent.hyperparameters["sizes"]
