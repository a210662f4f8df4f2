from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.conftest import LR, small_study
from tests.synthetic import run_all
from wst.errors import InputError
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import EndedTrial
from wst.study import Study, load_study
from wst.workflows.tune import run_study
from wst.workflows.warm_start import resolve_warm_starts

CODE = {"version": "0", "commit": None, "libraries": "{}"}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EndedTrial]]:
    """A study of WST on digits and sprite_loc that has run."""
    folder = tmp_path_factory.mktemp("other") / "runs"
    study = small_study(tasks=["digits", "sprite_loc"], final=None)
    with Ledger(folder, study, CODE) as ledger:
        ended = run_all(Planner(study))
        for trial in ended:
            ledger.add_intent(trial.intent)
            ledger.add_trial(trial.intent, trial.outcome)
    return folder, ended


def _study(tmp_path: Path, start: object, **space: object) -> Study:
    data = {
        "name": "next",
        "suite": "mini",
        "tasks": ["digits", "emoji_group"],
        "backbone": "micro",
        "variants": {"lin": {"method": "linear", "space": space or {"lr": LR}, "warm_start": start}},
        "search": {"trials": 4},
    }
    path = tmp_path / "next.yaml"
    path.write_text(yaml.safe_dump(data))
    return resolve_warm_starts(load_study(str(path)))


def _best(ended: list[EndedTrial], *tasks: str) -> list[float]:
    completed = [t for t in ended if t.outcome.state == "completed" and t.intent.task in tasks]
    ranked = sorted(completed, key=lambda t: -(t.outcome.epochs[-1].val_top1 or 0))
    return [float(t.intent.hyperparameters["lr"]) for t in ranked]


def test_another_study_gives_its_best_settings_for_the_task_or_over_all(
    tmp_path: Path, other: tuple[Path, list[EndedTrial]]
) -> None:
    folder, ended = other
    study = _study(tmp_path, {"ledger": str(folder), "top": 2})
    lin = study.variants["lin"]
    assert [p["lr"] for p in lin.first_points("digits")] == _best(ended, "digits")[:2]
    assert [p["lr"] for p in lin.first_points("emoji_group")] == _best(ended, "digits", "sprite_loc")[:2]
    assert all(set(point) == {"lr"} for point in lin.first_points("digits"))  # scale is not searched here
    assert str(folder) not in study.to_yaml()
    first = Planner(study).ask()
    assert first is not None and first.hyperparameters["lr"] == _best(ended, "digits")[0]


def test_settings_outside_the_space_are_left_out_and_none_left_is_said(
    tmp_path: Path, other: tuple[Path, list[EndedTrial]]
) -> None:
    start = {"ledger": str(other[0])}
    with pytest.raises(
        InputError, match=r"warm_start: expected completed trials in .* inside the space \(lr\)"
    ):
        _study(tmp_path, start, lr={"type": "float", "low": 10.0, "high": 20.0})
    with pytest.raises(InputError, match=r"expected a variant of .* found 'nobody'"):
        _study(tmp_path, {**start, "variant": "nobody"})
    with pytest.raises(InputError, match="expected a study's output folder"):
        _study(tmp_path, {"ledger": str(tmp_path / "nowhere")})


@pytest.mark.slow
def test_study_from_python_looks_into_the_other_ledger_too(
    tmp_path: Path, other: tuple[Path, list[EndedTrial]]
) -> None:
    data = {
        "tasks": ["digits"],
        "variants": {
            "lin": {
                "method": "linear",
                "space": {"lr": LR},
                "warm_start": {"ledger": str(other[0]), "top": 1},
            }
        },
        "recipe": {"epochs": 1, "warmup_epochs": 0},
        "search": {"trials": 1},
        "final": None,
    }
    run_study(small_study(**data), tmp_path / "s", inline=True)
    (trial,) = history(tmp_path / "s")[1]
    assert trial.intent.hyperparameters["lr"] == _best(other[1], "digits")[0]


def test_what_is_not_a_number_is_never_taken_and_steps_are_brought(
    tmp_path: Path, other: tuple[Path, list[EndedTrial]]
) -> None:
    space = {"lr": LR, "drop_path": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1}}
    study = small_study(variants={"a": {"method": "linear", "space": space}}, final=None)
    (good, *_) = [t for t in run_all(Planner(study)) if t.outcome.state == "completed"]
    noisy = replace(good.intent, hyperparameters={**good.intent.hyperparameters, "drop_path": 3 * 0.1})
    number, settings = noisy.number + 1, {**noisy.hyperparameters, "lr": 0.05}
    bad = replace(
        noisy,
        trial_id=f"digits.a.search.{number:04d}",
        number=number,
        ask_order=noisy.ask_order + 1,
        hyperparameters=settings,
    )
    *epochs, last = good.outcome.epochs
    broken = replace(good.outcome, epochs=(*epochs, replace(last, val_top1=1.0, val_loss=math.nan)))
    with Ledger(tmp_path / "runs", study, CODE) as ledger:
        for intent, outcome in ((noisy, good.outcome), (bad, broken)):
            ledger.add_intent(intent)
            ledger.add_trial(intent, outcome)
    taken = _study(tmp_path, {"ledger": str(tmp_path / "runs")}, **space).variants["lin"]
    (point,) = taken.first_points("digits")
    assert point == {"lr": good.intent.hyperparameters["lr"], "drop_path": 0.3}
