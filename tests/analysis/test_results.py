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
from tests.analysis.ledgers import alpha_study
from wst.ledger import history, resolved_study
from wst.planning.planner import Planner
from wst.planning.ranking import candidates, confirmed, front
from wst.records import EndedTrial, Epoch, Intent, Outcome


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
    assert "lr 0.001" in digits["base #2"].settings and "lr 0.002" in digits["base"].settings
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


# Eighths have exact means, so that no tie hangs on the last digit.
_accuracy = st.integers(0, 8).map(lambda n: n / 8)
_searched = st.tuples(_accuracy, st.integers(1, 3), st.integers(1, 3), st.booleans())
"""Accuracy, loss, parameters, and whether the trial is a former candidate too."""


def _ended(stage: str, number: int, top1: float | None, loss: float, **more: Any) -> EndedTrial:
    intent = Intent(
        f"digits.base.{stage}.{number:04d}",
        *("digits", "base", stage, number, number, 0, {"lr": 0.1}),  # type: ignore[arg-type]
        parent=more.pop("parent", None),
    )
    epochs = () if top1 is None else (Epoch(1, 0.1, 1.0, loss, top1, 1.0),)
    return EndedTrial(intent, Outcome("failed" if top1 is None else "completed", epochs, **more))


def _row(trial: EndedTrial) -> dict[str, Any]:
    intent, outcome = trial.intent, trial.outcome
    last = outcome.epochs[-1] if outcome.epochs else None
    return {
        "study": "alpha",
        **{
            name: getattr(intent, name)
            for name in ("trial_id", "task", "variant", "stage", "number", "parent")
        },
        "attempts": outcome.attempts,
        "state": outcome.state,
        "val_top1_last": last.val_top1 if last else None,
        "val_loss": last.val_loss if last else None,
        "trainable_parameters": outcome.trainable_parameters,
        "train_seconds": outcome.train_seconds,
    }


@settings(max_examples=15, deadline=None)
@given(
    st.lists(_searched, min_size=1, max_size=8),
    st.lists(st.lists(st.none() | _accuracy, min_size=2, max_size=2), min_size=8, max_size=8),
    st.none() | st.integers(1, 4),
    st.sampled_from(["val_loss", "trainable_parameters", "earlier"]),
    st.booleans(),
)
def test_places_are_the_ranks_of_the_studys_own_rule(
    searched: list[tuple[float, int, int, bool]],
    confirming: list[list[float | None]],
    top: int | None,
    ties: Any,
    several_objectives: bool,
) -> None:
    objectives = ("val_top1", "trainable_parameters") if several_objectives else ("val_top1",)
    study = alpha_study(
        search={"trials": 9, "objectives": list(objectives)},
        confirm={"top": top, "seeds": 2} if top else None,
        ties=ties,
    )
    search = [
        _ended("search", n, top1, float(loss), trainable_parameters=parameters)
        for n, (top1, loss, parameters, _) in enumerate(searched)
    ]
    ranked = candidates(search, objectives, ties)
    confirm: list[EndedTrial] = []
    if top:
        asked = (front(ranked) if several_objectives else ranked)[:top]
        names = {one.trial.intent.trial_id for one in asked}
        for n, trial in enumerate(search):
            if trial.intent.trial_id in names or searched[n][3]:
                for value in confirming[n]:
                    known = {"parent": trial.intent.trial_id, "trainable_parameters": searched[n][2]}
                    confirm.append(_ended("confirm", len(confirm), value, 1.0, **known))
        ranked = confirmed(asked, confirm, ties)
    chosen = [one.trial.intent.trial_id for one in front(ranked)]
    others = [t.intent.trial_id for n, t in enumerate(search) if searched[n][3]]
    parents = list(dict.fromkeys([*chosen, *others]))
    finals = pd.DataFrame({"study": "alpha", "task": "digits", "variant": "base", "parent": parents})
    earlier = pd.DataFrame([_row(trial) for trial in (*search, *confirm)], columns=list(EARLIER_COLUMNS))
    found = places(finals, earlier, {"alpha": study})
    assert several_objectives or (found > 0).sum() <= 1
    if not chosen:  # every candidate is out: what was retrained once has no rule to go by
        return
    assert {p: int(place) for p, place in zip(parents, found, strict=True)} == {
        parent: chosen.index(parent) + 1 if parent in chosen else 0 for parent in parents
    }
