from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, small_study
from tests.synthetic import run_all
from wst.errors import InputError
from wst.ledger import Ledger, resolved_study
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Intent, Outcome
from wst.shipped import shipped_names
from wst.simulation.recording import CellCurves, Recording
from wst.simulation.replay import CellReplay, Machine, replay, searching
from wst.study import Study, load_study

CODE = {"version": "0", "commit": None, "libraries": "{}"}
LR = {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}
SCALE = {"type": "categorical", "choices": [0.1, 1.0, 10.0]}
LRS = {"type": "categorical", "choices": [1e-4, 1e-3, 1e-2, 1e-1]}
HALVING = {"type": "successive_halving", "min_resource": 1, "reduction_factor": 2}


def wst_study(lr: dict[str, Any] = LR, **changes: Any) -> Study:
    variants = {"wst-r2": {"method": "wst", "space": {"lr": lr, "scale": SCALE}, "fixed": {"r": 2}}}
    return small_study(**{"variants": variants, "final": None} | changes)


def grid_study(**changes: Any) -> Study:
    return wst_study(**{"name": "grid", "search": {"sampler": {"type": "grid", "points": 4}}} | changes)


def write(folder: Path, study: Study, ended: list[EndedTrial]) -> Path:
    with Ledger(folder, study, CODE) as ledger:
        for trial in ended:
            ledger.add_intent(trial.intent)
            ledger.add_trial(trial.intent, trial.outcome)
    return folder


def timed(trial: EndedTrial) -> EndedTrial:
    """The trial with seconds that differ by epoch and by trial."""
    epochs = [replace(e, seconds=e.epoch + trial.intent.number / 10) for e in trial.outcome.epochs]
    return EndedTrial(trial.intent, replace(trial.outcome, epochs=tuple(epochs)))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve configurations on each of two tasks."""
    study = grid_study(tasks=["digits", "sprite_loc"])
    ended = [timed(trial) for trial in run_all(Planner(study))]
    return write(tmp_path_factory.mktemp("recorded"), study, ended)


@pytest.fixture(scope="module")
def recording(recorded: Path) -> Recording:
    return Recording([recorded])


def one_cell(study: Study, recording: Recording, **machine: Any) -> CellReplay:
    (cell,) = Machine(study, recording.cells(study), **machine).run()
    return cell


def test_a_grid_finds_the_best_of_its_own_record(recording: Recording) -> None:
    study = grid_study(tasks=["digits", "sprite_loc"])
    for cell in Machine(study, recording.cells(study)).run():
        values = [t.outcome.epochs[-1].val_top1 or 0.0 for t in recording.trials if t.task == cell.task]
        assert sorted(cell.accuracy) == sorted(values)
        assert cell.compute == tuple(range(1, 13)) and cell.total == 12
        assert cell.pruned == cell.repeated == 0


@pytest.mark.parametrize("sampler", [{"type": "random"}, {"type": "tpe", "n_startup_trials": 3}])
@pytest.mark.parametrize("pruner", [HALVING, {"type": "none"}, {"type": "median", "n_startup_trials": 1}])
def test_replay_is_the_real_search(
    recording: Recording, sampler: dict[str, Any], pruner: dict[str, Any]
) -> None:
    """Where every suggestion was recorded, the replay goes as the search itself goes, at its cost."""
    study = wst_study(LRS, search={"trials": 10, "sampler": sampler, "pruner": pruner}, report_every=1)
    planner = Planner(study)
    ended, spent, expected = [], 0, []
    while not planner.done:
        intent = planner.ask()
        assert intent is not None
        settled = planner.settled(intent)
        if settled is not None:
            planner.finish(intent.trial_id, settled)
            continue
        outcome = _train(planner, intent)
        spent += len(outcome.epochs)
        ended.append(outcome)
        if outcome.state == "completed":
            expected.append((spent / 4, outcome.epochs[-1].val_top1))
    cell = one_cell(study, recording)
    assert list(zip(cell.compute, cell.accuracy, strict=True)) == expected
    assert cell.total == spent / 4 and cell.clock == spent
    assert cell.pruned == sum(outcome.state == "pruned" for outcome in ended)
    best = planner.cells["digits", "wst-r2"].best
    assert best is not None and max(cell.accuracy) == best.val_top1
    if pruner["type"] != "none":
        assert cell.pruned > 0 and cell.total < 10


def _train(planner: Planner, intent: Intent) -> Outcome:
    from tests.curves import curve

    told: list[Epoch] = []
    for epoch in curve(intent, planner.study.recipe.epochs):
        told.append(epoch)
        if planner.report(intent.trial_id, epoch):
            break
    full = len(told) == planner.study.recipe.epochs
    outcome = Outcome("completed" if full else "pruned", epochs=tuple(told))
    planner.tell(intent.trial_id, outcome)
    return outcome


def test_slots_work_side_by_side_and_all_their_work_counts(recording: Recording) -> None:
    study = wst_study(search={"trials": 8, "sampler": {"type": "random"}})
    cell = one_cell(study, recording, slots=4)
    assert cell.clock == 2 * 4  # two rounds of four epochs
    assert cell.total == 8
    assert cell.compute == (4.0,) * 4 + (8.0,) * 4


def test_slots_are_shared_by_the_cells(recording: Recording) -> None:
    search = {"trials": 4, "sampler": {"type": "random"}}
    study = wst_study(search=search, tasks=["digits", "sprite_loc"])
    cells = Machine(study, recording.cells(study), slots=2).run()
    assert [cell.compute for cell in cells] == [(1.0, 2.0, 3.0, 4.0)] * 2
    assert [cell.clock for cell in cells] == [16, 16]


def test_pruned_trials_cost_what_they_ran_on_any_number_of_slots(recording: Recording) -> None:
    study = wst_study(search={"trials": 20, "sampler": {"type": "random"}, "pruner": HALVING})
    for slots in (1, 3):
        cell = one_cell(study, recording, slots=slots)
        assert cell.pruned + len(cell.accuracy) == 20
        # One or two epochs a pruned trial, four a completed one.
        epochs = 4 * cell.total - 4 * len(cell.accuracy)
        assert cell.pruned <= epochs <= 2 * cell.pruned
        assert list(cell.compute) == sorted(cell.compute) and cell.compute[-1] <= cell.total
        assert cell.clock >= 4 * cell.total / slots


def test_seconds_are_those_recorded(recording: Recording) -> None:
    study = grid_study()
    cells = recording.cells(study)
    cell = one_cell(study, recording, cost="seconds")
    seconds = [
        sum(epoch.seconds for epoch in t.outcome.epochs) for t in recording.trials if t.task == "digits"
    ]
    assert cell.clock == pytest.approx(sum(seconds))
    assert cells["digits", "wst-r2"].mean_seconds == pytest.approx(sum(seconds) / 12)
    assert cell.total == pytest.approx(12)
    steps = [b - a for a, b in zip((0.0, *cell.compute), cell.compute, strict=False)]
    assert sorted(steps) == pytest.approx(sorted(12 * s / sum(seconds) for s in seconds))


def test_replays_depend_on_the_seed_alone(recording: Recording) -> None:
    study = wst_study(search={"trials": 6, "sampler": {"type": "tpe", "n_startup_trials": 3}})
    once = list(replay(study, recording, repeats=3))
    assert once == list(replay(study, recording, repeats=3))
    assert once[0] != once[1]
    later = study.model_copy(update={"seed": 1})
    assert list(replay(later, recording, repeats=2)) == once[1:]


@pytest.mark.slow
def test_processes_change_nothing(recording: Recording) -> None:
    study = wst_study(search={"trials": 6, "sampler": {"type": "random"}, "pruner": HALVING})
    alone = list(replay(study, recording, repeats=3))
    assert list(replay(study, recording, repeats=3, processes=2)) == alone


@settings(deadline=None, max_examples=60)
@given(
    lr=st.floats(1e-4, 1e-1),
    step=st.floats(0.0, 1.0),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_nearest_is_nearest_on_each_hyperparameters_scale(
    plane: CellCurves, lr: float, step: float, scale: float
) -> None:
    """Against all recorded configurations of that scale: three decades of lr, drop_path from 0 to 0.5."""

    def distance(recorded: tuple[float, float, float]) -> float:
        return ((math.log10(recorded[0]) - math.log10(lr)) / 3) ** 2 + ((recorded[1] - step / 2) / 0.5) ** 2

    (outcome,) = plane.nearest({"lr": lr, "drop_path": step / 2, "scale": scale, "r": 2})
    marks = _plane()
    chosen = marks[round(outcome.epochs[0].seconds)]
    assert chosen[2] == scale
    assert distance(chosen) <= min(distance(one) for one in marks if one[2] == scale) + 1e-9


def _plane() -> list[tuple[float, float, float]]:
    return [
        (10.0**-e, drop, scale)
        for e in (1, 1.7, 2, 3.2, 4)
        for drop in (0.0, 0.05, 0.3, 0.5)
        for scale in (0.1, 1.0, 10.0)
    ]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> CellCurves:
    """Recorded points whose first epoch's seconds are their number."""
    drop = {"type": "float", "low": 0.0, "high": 0.5}
    space = {"lr": LR, "drop_path": drop, "scale": SCALE}
    variants = {"wst-r2": {"method": "wst", "space": space, "fixed": {"r": 2}}}
    study = wst_study(variants=variants)
    ended = []
    for number, (lr, drop_path, scale) in enumerate(_plane()):
        settings_ = {"lr": lr, "drop_path": drop_path, "scale": scale, "r": 2}
        name = f"digits.wst-r2.search.{number:04d}"
        intent = Intent(name, "digits", "wst-r2", "search", number, number, 0, settings_)
        epochs = tuple(Epoch(e, lr, 1.0, 0.5, 0.5, float(number)) for e in range(1, 5))
        ended.append(EndedTrial(intent, Outcome("completed", epochs=epochs)))
    folder = write(tmp_path_factory.mktemp("plane"), study, ended)
    return Recording([folder]).cells(study)["digits", "wst-r2"]


def test_a_range_may_be_replayed_from_recorded_choices(recording: Recording) -> None:
    """lr was a grid of four values in the record; the suggestions are anywhere between."""
    cell = one_cell(wst_study(search={"trials": 30, "sampler": {"type": "random"}}), recording)
    known = {t.outcome.epochs[-1].val_top1 for t in recording.trials if t.task == "digits"}
    assert set(cell.accuracy) <= known
    assert cell.repeated >= 30 - 12 and cell.total == 30  # and each of them is charged


def test_of_several_seeds_one_is_drawn(recorded: Path, tmp_path: Path) -> None:
    study = grid_study(name="again", seed=7)
    write(tmp_path, study, [timed(trial) for trial in run_all(Planner(study))])
    both = Recording([recorded, tmp_path])
    asked = grid_study()
    curves = both.cells(asked)["digits", "wst-r2"]
    first = both.trials[0].hyperparameters
    outcomes = curves.nearest(first)
    assert len(outcomes) == 2
    assert outcomes[0].epochs != outcomes[1].epochs
    replays = [cells[0] for cells in replay(asked, both, repeats=8)]
    assert {len(one.accuracy) for one in replays} == {12}
    assert len({tuple(sorted(one.accuracy)) for one in replays}) == 8  # other draws


def test_ceiling_on_parameters_comes_from_the_record(tmp_path: Path) -> None:
    study = grid_study()
    ended = []
    for trial in run_all(Planner(study)):
        parameters = 100 if trial.intent.hyperparameters["scale"] == 0.1 else 900
        outcome = replace(trial.outcome, trainable_parameters=parameters)
        ended.append(EndedTrial(trial.intent, outcome))
    write(tmp_path, study, ended)
    search = {"trials": 6, "sampler": {"type": "random"}, "max_trainable_parameters": 500}
    cell = one_cell(wst_study(search=search), Recording([tmp_path]))
    small = {t.outcome.epochs[-1].val_top1 for t in ended if t.outcome.trainable_parameters == 100}
    assert len(cell.accuracy) == 6 and set(cell.accuracy) <= small


def test_only_the_search_is_replayed() -> None:
    study = small_study(confirm={"top": 2, "seeds": 2})
    only = searching(study)
    assert only.confirm is None and only.final is None and only.search == study.search


Change = Callable[[], Study]


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (lambda: grid_study(tasks=["sprite_ori"]), "of task 'sprite_ori'; found those of digits, sp"),
        (
            lambda: grid_study(variants={"l": {"method": "linear", "space": {"lr": LR}}}),
            "of method 'linear'; found those of wst",
        ),
        (
            lambda: grid_study(recipe={"epochs": 8, "warmup_epochs": 1}),
            r"study 'grid': recipe.epochs: expected 4, as recorded in .*; found 8",
        ),
        (lambda: grid_study(backbone="vit_tiny_patch16_224"), "backbone: expected 'micro'"),
        (
            lambda: _with_space({"lr": LR, "scale": SCALE, "depth": {"type": "int", "low": 1, "high": 2}}),
            "expected trials with hyperparameter 'depth'; found only drop_path, lr, r, scale",
        ),
        (
            lambda: _with_space({"lr": LR, "scale": {"type": "categorical", "choices": [1.0, 5.0]}}),
            r"scale: expected 5.0 among the recorded values; found 0.1, 1.0, 10.0",
        ),
        (
            lambda: _with_space({"lr": {**LR, "low": 1e-8}, "scale": SCALE}),
            "lr: expected recorded values from about 1e-08 to 0.1 on task 'digits'; found 0.0001, 0.001",
        ),
        (
            lambda: _with_space({"lr": LR, "scale": SCALE}, r=4),
            "expected a recorded trial with .*r 4.*; found",
        ),
        (
            lambda: small_study(variants={"l": {"method": "linear", "fixed": {"lr": 0.1}}}, search=None),
            "study 'small': expected a search and a variant with a space; found none",
        ),
        (
            lambda: wst_study(
                search={
                    "trials": 3,
                    "sampler": {"type": "nsga2"},
                    "objectives": ["val_top1", "trainable_parameters"],
                }
            ),
            "search.objectives: expected val_top1 alone; found val_top1, trainable_parameters",
        ),
    ],
)
def test_what_was_not_recorded_is_refused_in_one_line(
    recording: Recording, study: Change, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        list(replay(study(), recording, repeats=1))
    assert "\n" not in str(error.value)


def _with_space(space: dict[str, Any], r: int = 2) -> Study:
    variant = {"method": "wst", "space": space, "fixed": {"r": r}}
    return wst_study(variants={"wst-r2": variant}, search={"trials": 3, "sampler": {"type": "random"}})


def test_a_record_without_completed_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output folder; found no study"):
        Recording([tmp_path])
    write(tmp_path, grid_study(), [])
    with pytest.raises(InputError, match="expected completed search trials; found none"):
        Recording([tmp_path])


def test_a_short_curve_and_records_of_other_conditions_are_refused(recorded: Path, tmp_path: Path) -> None:
    study = grid_study(name="short")
    first = run_all(Planner(study), stop_after=1)[0]
    cut = EndedTrial(first.intent, replace(first.outcome, epochs=first.outcome.epochs[:2]))
    folder = write(tmp_path / "short", study, [cut])
    with pytest.raises(InputError, match=r"digits\.wst-r2\.search\.0000: expected .* 4 epochs; found 2"):
        Recording([folder])
    other = grid_study(name="other", recipe={"epochs": 4, "warmup_epochs": 2})
    folder = write(tmp_path / "other", other, run_all(Planner(other), stop_after=1))
    with pytest.raises(InputError, match=r"recipe\.warmup_epochs: expected 1.0, as recorded in"):
        Recording([recorded, folder])


RECORD = ROOT / "docs" / "simulation"


def test_the_shipped_record_is_whole_and_names_no_machine() -> None:
    recording = Recording([RECORD])
    study = resolved_study(RECORD)
    assert Counter(t.task for t in recording.trials) == dict.fromkeys(study.tasks, 63)
    assert (
        {t.outcome.node for t in recording.trials} == {t.outcome.slot for t in recording.trials} == {"host"}
    )
    files = [path for path in RECORD.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    for cell in Machine(study, recording.cells(study)).run():
        values = [t.outcome.epochs[-1].val_top1 or 0.0 for t in recording.trials if t.task == cell.task]
        assert sorted(cell.accuracy) == sorted(values) and cell.total == 63


@pytest.mark.parametrize("name", [n for n in shipped_names("studies") if n.startswith("simulation/")])
def test_shipped_studies_replay_on_the_shipped_record(name: str) -> None:
    study = load_study(name, overrides=["search.trials=4"], tasks=["digits"])
    cell = one_cell(study, Recording([RECORD]))
    assert len(cell.accuracy) + cell.pruned == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"checkpoint_hash": "b" * 64},
            "backbone weights: expected hash aaaaaaaaaaaa, as recorded in .*; found bbb",
        ),
        (
            {"data_hash": "c" * 64},
            "data of task 'digits': expected hash dddddddddddd, as recorded in .*; found ccc",
        ),
    ],
)
def test_curves_of_other_weights_or_images_do_not_mix(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    study = grid_study()
    ended = run_all(Planner(study))

    def recorded(name: str, **hashes: str) -> Path:
        known = {"checkpoint_hash": "a" * 64, "data_hash": "d" * 64, **hashes}
        return write(tmp_path / name, study, [replace(t, outcome=replace(t.outcome, **known)) for t in ended])

    first = recorded("first")
    assert len(Recording([first, recorded("alike")]).trials) == 2 * len(ended)
    with pytest.raises(InputError, match=words) as caught:
        Recording([first, recorded("other", **changes)])
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / "other"))
