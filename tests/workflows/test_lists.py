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
from wst.workflows.best import study_without_search

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
    assert "sizes (" in read_leaderboard([tmp_path / "s"]).rows[0].settings()
    (tries,) = export_optuna(tmp_path / "s", tmp_path / "study.db").values()
    assert tries == 8
    assert "sizes[0]" in Recording([tmp_path / "s"]).trials[0].hyperparameters
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
