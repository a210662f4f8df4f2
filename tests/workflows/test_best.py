from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.conftest import LR, small_study
from tests.synthetic import run_all
from wst.cli.group import application
from wst.errors import InputError
from wst.ledger import Ledger
from wst.planning.planner import Planner
from wst.study import Study, load_study
from wst.workflows.best import chosen_settings, study_without_search

CODE = {"version": "0", "commit": None, "libraries": "{}"}


def _run(folder: Path, study: Study, stop_after: int | None = None) -> None:
    with Ledger(folder, study, CODE) as ledger:
        for trial in run_all(Planner(study), stop_after):
            ledger.add_intent(trial.intent)
            ledger.add_trial(trial.intent, trial.outcome)


def test_chosen_settings_become_a_study_that_goes_straight_to_its_final(tmp_path: Path) -> None:
    study = small_study(
        tasks=["digits", "sprite_loc"],
        variants={
            **{name: v.model_dump() for name, v in small_study().variants.items()},
            "wst-r4": {"method": "wst", "settings_from": "wst-r2", "fixed": {"r": 4}},
        },
    )
    _run(tmp_path / "s", study)
    out = tmp_path / "best.yaml"
    result = CliRunner().invoke(application("study"), ["best", str(tmp_path / "s"), "-o", str(out)])
    assert result.exit_code == 0, result.output
    again = load_study(str(out))
    assert again.search is None and again.confirm is None and again.final == study.final
    before = [t.intent for t in run_all(Planner(study)) if t.intent.stage == "final"]
    after = [t.intent for t in run_all(Planner(again))]

    def key(intent: object) -> object:
        return sorted((i.task, i.variant, i.seed, repr(sorted(i.hyperparameters.items()))) for i in intent)  # type: ignore[attr-defined]

    assert key(after) == key(before)


def test_front_becomes_a_variant_for_each_member(tmp_path: Path) -> None:
    space = {"lr": LR, "r": {"type": "int", "low": 1, "high": 4}}
    search = {"trials": 16, "sampler": {"type": "random"}, "objectives": ["val_top1", "trainable_parameters"]}
    study = small_study(variants={"wst": {"method": "wst", "space": space}}, search=search, seed=3)
    _run(tmp_path / "s", study)
    rows = chosen_settings(tmp_path / "s")
    assert len(rows) > 1
    (tmp_path / "b.yaml").write_text(study_without_search(tmp_path / "s"))
    best = load_study(str(tmp_path / "b.yaml"))
    assert list(best.variants) == ["wst", *(f"wst-front-{i}" for i in range(2, len(rows) + 1))]
    assert [v.given_settings("digits") for v in best.variants.values()] == [row["settings"] for row in rows]


def test_search_that_goes_on_has_no_chosen_settings(tmp_path: Path) -> None:
    _run(tmp_path / "s", small_study(), stop_after=3)
    with pytest.raises(InputError, match="whose search has ended with a completed trial; found none"):
        chosen_settings(tmp_path / "s")
    result = CliRunner().invoke(application("study"), ["status", str(tmp_path / "s"), "--json"])
    rows = json.loads(result.output)
    assert sum(row["left"] for row in rows) == 16 - 3


def test_shared_settings_are_the_same_row_for_every_task(shared: Path, tmp_path: Path) -> None:
    rows = chosen_settings(shared)
    assert [(row["trial_id"], row["shared"]) for row in rows] == [
        ("digits.base.search.0003", True),
        ("emoji_group.base.search.0003", True),
    ]
    assert [row["val_top1"] for row in rows] == pytest.approx([0.715, 0.715])
    assert rows[0]["settings"] == rows[1]["settings"]
    result = CliRunner().invoke(application("study"), ["best", str(shared)])
    assert "71.5" in result.output and "shared: one choice for all tasks" in result.output
    best = Study.model_validate(yaml.safe_load(study_without_search(shared)))
    assert best.variants["base"].per_task == {row["task"]: row["settings"] for row in rows}
