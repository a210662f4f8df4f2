"""Which final trials count: the hand-made ledgers, the planner's own choice, and the rule at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.ablation import read_ablation
from analysis.leaderboard.board import read_leaderboard
from analysis.leaderboard.notes import caveats
from analysis.leaderboard.table import as_table, reads_by_task
from analysis.load import studies_of
from analysis.pareto import as_table as front_table
from analysis.pareto import front as pareto_front
from analysis.results import EARLIER_COLUMNS, places, read_finals
from tests.analysis.ledgers import TASKS, alpha_study
from tests.analysis.staged_ledgers import shared_study
from wst.ledger import history, resolved_study
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Outcome
from wst.study import Study


def _by_place(folder: Path) -> dict[tuple[str, str, int], list[str]]:
    finals = read_finals([folder], studies_of([folder]), ["trial_id"])
    return {
        (str(task), str(variant), int(place)): sorted(part["parent"].unique())
        for (task, variant, place), part in finals.groupby(["task", "variant", "place"])
    }


def test_the_winner_of_the_extended_search_counts(extended: Path) -> None:
    earlier, now = "digits.base.search.0000", "digits.base.search.0006"
    assert _by_place(extended) == {
        ("digits", "base", 0): [earlier],
        ("digits", "base", 1): [now],
        ("digits", "twin", 0): [earlier],
        ("digits", "twin", 1): [now],
        ("emoji_group", "base", 1): ["emoji_group.base.search.0000"],
        ("emoji_group", "twin", 1): ["emoji_group.base.search.0000"],
    }


def test_members_of_a_front_are_numbered_by_falling_accuracy(several: Path) -> None:
    assert _by_place(several) == {
        ("digits", "base", 1): ["digits.base.search.0001"],
        ("digits", "base", 2): ["digits.base.search.0000"],
        ("emoji_group", "base", 1): ["emoji_group.base.search.0000"],
    }


def test_settings_that_tasks_share_count_by_their_means(shared: Path) -> None:
    assert _by_place(shared) == {
        ("digits", "base", 0): ["digits.base.search.0000"],
        ("digits", "base", 1): ["digits.base.search.0003"],
        ("emoji_group", "base", 1): ["emoji_group.base.search.0000"],  # its new winner is yet to be trained
    }
    board = read_leaderboard([shared])
    (row,) = board.rows
    assert row.stages == "search of 4 shared by 2 tasks, best 2 confirmed over 2 seeds, final"
    assert board.put_aside == {"base": {"digits": 2}}
    planner = Planner(resolved_study(shared), *history(shared))
    for cell in planner.cells.values():
        ((_, candidate),) = cell.chosen
        assert candidate is not None and candidate.val_top1 == pytest.approx(0.715)
        assert candidate.trial.intent.trial_id == f"{cell.task}.base.search.0003"
    openings = {task: len(cell.openings("final")) for (task, _), cell in planner.cells.items()}
    assert openings == {"digits": 0, "emoji_group": 2}


@pytest.mark.parametrize("ledger", ["extended", "several"])
def test_what_counts_is_what_the_planner_chose(ledger: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(ledger)
    planner = Planner(resolved_study(folder), *history(folder))
    chosen = {
        (cell.task, cell.variant, place): [candidate.trial.intent.trial_id]
        for cell in planner.cells.values()
        for place, (_, candidate) in enumerate(cell.chosen, 1)
        if candidate is not None
    }
    assert {key: parents for key, parents in _by_place(folder).items() if key[2]} == chosen


def test_leaderboard_leaves_earlier_winners_out_and_says_so(extended: Path) -> None:
    board = read_leaderboard([extended])
    rows = {row.variant: row for row in board.rows}
    assert rows["base"].scores["digits"].by_seed == pytest.approx({1: 60, 2: 62})
    assert rows["base"].scores["digits"].trials == ("digits.base.final.0002", "digits.base.final.0003")
    assert rows["base"].scores["digits"].trainable == 90
    assert rows["twin"].scores["digits"].mean == pytest.approx(42)
    mean = rows["base"].mean_of_tasks()
    assert mean and mean.mean == pytest.approx((61 + 56) / 2)
    assert board.failed == 0
    found = caveats(board)
    for variant in ("base", "twin"):
        assert (
            f"{variant}: 2 final trials of earlier winners are left out, since the search went on and found "
            "better settings (digits)."
        ) in found
    assert rows["base"].stages == "search of 8, best 2 confirmed over 2 seeds, final"


def test_every_read_of_a_test_split_is_counted(extended: Path) -> None:
    board = read_leaderboard([extended])
    found = reads_by_task(board)
    assert found["digits"]["base"] == [f"digits.base.final.{number:04d}" for number in range(4)]
    assert {task: {v: len(ids) for v, ids in by.items()} for task, by in found.items()} == {
        "digits": {"base": 4, "twin": 4},
        "emoji_group": {"base": 2, "twin": 2},
    }
    notes = as_table(board).notes
    assert "Test split of digits read 8 times: base 4, twin 4." in notes
    assert "Test split of emoji_group read 4 times: base 2, twin 2." in notes


def test_tasks_with_equal_reads_share_a_line(alpha: Path) -> None:
    notes = caveats(read_leaderboard([alpha]))
    assert (
        "Test split of emoji_group, sprite_loc read 10 times: base 2, big 2, gap 2, lin 2, twin 2." in notes
    )
    assert "Test split of digits read 9 times: base 2, big 1, gap 2, lin 2, twin 2." in notes
    assert "Test split of sprite_ori read 8 times: base 2, big 2, lin 2, twin 2." in notes


def test_ablation_compares_what_counts(extended: Path) -> None:
    (twin,) = read_ablation([extended], "base").comparisons
    # 40 - 60 and 44 - 62 on digits, 45 - 55 and 47 - 57 on emoji_group.
    assert twin.by_task == pytest.approx({"digits": -19, "emoji_group": -10})
    assert twin.pairs == 4


def test_a_front_is_one_row_and_several_points(several: Path) -> None:
    board = read_leaderboard([several])
    (row,) = board.rows
    assert row.scores["digits"].mean == pytest.approx(81)
    mean = row.mean_of_tasks()
    assert mean and mean.mean == pytest.approx((81 + 51) / 2)
    assert any("2 final trials of the other members are left out here" in n for n in as_table(board).notes)
    assert not board.put_aside

    digits = {point.label: point for point in pareto_front(board, "digits").points}
    assert {label: (p.cost, p.accuracy, p.on_front) for label, p in digits.items()} == {
        "base": (100, pytest.approx(81), True),
        "base #2": (50, pytest.approx(76), True),
    }
    assert "lr 1.00e-3" in digits["base #2"].settings.shown and "lr 2.00e-3" in digits["base"].settings.shown
    (emoji,) = pareto_front(board, "emoji_group").points
    assert (emoji.label, emoji.cost) == ("base", 60)
    # Over both tasks the one member on emoji_group stands in twice.
    tasks = {point.label: point for point in pareto_front(board, "mean of tasks").points}
    assert {label: (p.cost, p.accuracy) for label, p in tasks.items()} == {
        "base": (80, pytest.approx(66)),
        "base #2": (55, pytest.approx(63.5)),
    }
    assert any(note.startswith("#2 and so on") for note in front_table(pareto_front(board)).notes)


def test_one_settings_a_cell_needs_no_other_trial(alpha: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("analysis.results.candidates", lambda *given: calls.append(given))
    finals = read_finals([alpha], studies_of([alpha]), ["trial_id"])
    assert (finals["place"] == 1).all() and not calls


def test_of_settings_without_a_completed_search_trial_the_first_count() -> None:
    finals = pd.DataFrame({"study": "alpha", "task": "digits", "variant": "base", "parent": ["x", "y", "x"]})
    earlier = pd.DataFrame(columns=list(EARLIER_COLUMNS))
    assert places(finals, earlier, {"alpha": alpha_study()}).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("top", "differ_in"),
    [(None, "search"), (1, "search"), (2, "confirm")],
    ids=["search", "goes on", "confirm"],
)
def test_ties_of_shared_settings_go_by_the_mean_loss(top: int | None, differ_in: str) -> None:
    """On digits the first settings have the lower loss; over both tasks the second have."""
    confirm = {"confirm": {"top": top, "seeds": 1} if top else None}
    study = Study.model_validate({**shared_study().model_dump(mode="json"), **confirm})
    rows = []
    for stage in ("search", "confirm") if top else ("search",):
        for task, losses in {"digits": (0.1, 0.3), "emoji_group": (0.9, 0.3)}.items():
            for number, loss in enumerate(losses):
                own = f"{task}.base.search.{number:04d}"
                row = {"task": task, "stage": stage, "number": number, "trial_id": own, "parent": None}
                if stage == "confirm":
                    row |= {"trial_id": own.replace("search", "confirm"), "parent": own}
                rows.append(row | {"val_loss": loss if stage == differ_in else 0.2})
    same = {"study": "shared", "variant": "base", "state": "completed", "attempts": 1, "val_top1_last": 0.8}
    earlier = pd.DataFrame(rows).assign(**same, trainable_parameters=1, train_seconds=1.0)
    finals = earlier.loc[earlier["stage"] == "search", ["study", "task", "variant", "trial_id"]]
    finals = finals.rename(columns={"trial_id": "parent"})
    assert places(finals, earlier, {"shared": study}).tolist() == [0, 1, 0, 1]


# Hundredths have no exact means: over the seeds, equal accuracies differ in their last digit.
_OBJECTIVES = ["val_top1", "trainable_parameters", "train_seconds"]
_end = st.tuples(
    st.integers(0, 8).map(lambda n: n != 0),  # completed
    st.integers(70, 73).map(lambda n: n / 100),  # accuracy on val
    st.integers(1, 2).map(lambda n: n / 10),  # loss
    st.integers(1, 3),  # parameters
    st.integers(1, 2).map(float),  # seconds
)
_ends = st.lists(_end, min_size=12, max_size=24)


def _run(planner: Planner, ends: list[Any], ended: list[EndedTrial]) -> None:
    """Run what is left; the trials end as ``ends`` say, one after the other and round again."""
    while (intent := planner.ask()) is not None:
        outcome = planner.settled(intent)
        if outcome is None:
            completed, top1, loss, parameters, seconds = ends[len(ended) % len(ends)]
            final = intent.stage == "final"
            epoch = Epoch(1, 0.1, 1.0, None if final else loss, None if final else top1, 1.0)
            outcome = Outcome(
                "completed" if completed else "failed",
                epochs=(epoch,) if completed else (),
                trainable_parameters=parameters,
                train_seconds=seconds,
            )
        planner.finish(intent.trial_id, outcome)
        ended.append(EndedTrial(intent, outcome))


def _row(trial: EndedTrial) -> dict[str, Any]:
    outcome = trial.outcome
    last = outcome.epochs[-1] if outcome.epochs else None
    return {
        **{"study": "alpha", **vars(trial.intent), **vars(outcome)},
        "val_top1_last": last.val_top1 if last else None,
        "val_loss": last.val_loss if last else None,
    }


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    _ends,
    st.tuples(st.integers(2, 7), st.integers(0, 4)),
    st.none() | st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.sampled_from(["val_loss", "trainable_parameters", "earlier"]),
    st.integers(1, 3),
    st.sampled_from([("own", 1, 0), ("own", 2, 1), ("shared", 1, 0), ("shared", 2, 0), ("shared", 2, 1)]),
)
def test_planner_and_leaderboard_choose_the_same_settings(
    ends: list[Any],
    trials: tuple[int, int],
    confirm: tuple[int, int] | None,
    ties: str,
    objectives: int,
    tasks: tuple[str, int, int],
) -> None:
    """A study that was extended once, by trials, tasks or both; of few settings, so that some come again."""

    def study(searched: int, on: int) -> Study:
        few = {"type": "categorical", "choices": [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]}
        return alpha_study(
            tasks=TASKS[:on],
            variants={
                "base": {"method": "wst", "space": {"lr": few}, "fixed": {"r": 2}, "settings": whose},
                "twin": {"method": "wst", "settings_from": "base", "fixed": {"r": 3}},
            },
            search={
                "trials": searched,
                "sampler": {"type": "random"},
                "objectives": _OBJECTIVES[:objectives],
            },
            confirm={"top": confirm[0], "seeds": confirm[1]} if confirm else None,
            final={"seeds": 1},
            ties=ties,
        )

    (first, further), (whose, at_first, more_tasks) = trials, tasks
    ended: list[EndedTrial] = []
    _run(Planner(study(first, at_first)), ends, ended)
    extended = study(first + further, at_first + more_tasks)
    planner = Planner(extended, [trial.intent for trial in ended], list(ended))
    _run(planner, ends, ended)
    chosen = {
        (cell.task, cell.variant, candidate.trial.intent.trial_id): place
        for cell in planner.cells.values()
        for place, (_, candidate) in enumerate(cell.chosen, 1)
        if candidate is not None
    }
    if not chosen:  # every candidate is out: what was retrained once has no rule to go by
        return
    rows = pd.DataFrame([_row(trial) for trial in ended])
    earlier = rows.loc[rows["stage"] != "final", [*EARLIER_COLUMNS]]
    # Any of the settings may have been the best once, and so have final trials.
    searched = rows.loc[rows["stage"] == "search", ["study", "task", "trial_id"]]
    once = pd.concat([searched.assign(variant=variant) for variant in ("base", "twin")], ignore_index=True)
    finals = once.rename(columns={"trial_id": "parent"})
    found = places(finals, earlier, {"alpha": extended})
    assert {
        (task, variant, parent): place
        for task, variant, parent, place in zip(
            finals["task"], finals["variant"], finals["parent"], found, strict=True
        )
        if place and any((task, variant) == cell[:2] for cell in chosen)
    } == chosen
