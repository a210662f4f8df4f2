from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.leaderboard.board import read_leaderboard
from analysis.report.summary import summary
from tests.analysis.ledgers import Writer, alpha_study


def _summary(folder: Path) -> list[str]:
    return summary([folder], read_leaderboard([folder]), "1 slot-hour")


def _written(folder: Path, accuracies: dict[str, Any]) -> Path:
    """A study of one task, whose variants have these accuracies by seed."""
    fixed = {"method": "wst", "fixed": {"lr": 0.01, "r": 2}}
    study = alpha_study(variants=dict.fromkeys(accuracies, fixed), tasks=["digits"], search=None)
    writer = Writer(folder, study)
    with writer.ledger:
        writer.finals({variant: {"digits": values} for variant, values in accuracies.items()})
    return folder


def test_what_won_by_how_much_and_at_which_cost(tmp_path: Path) -> None:
    found = _summary(_written(tmp_path / "s", {"a": [90, 91, 92], "b": [80, 81, 82], "c": [70, 71, 72]}))
    assert found == [
        "a is ahead of 2 others: 91.0 % test accuracy, mean of groups, with 100 trainable parameters without "
        "the head.",
        "Next is b, 10.0 points behind, which is more than the noise over seeds (±\u00a00.0).",
        "All trials together cost 1 slot-hour.",
    ]


def test_a_lead_inside_the_noise_is_no_win(tmp_path: Path) -> None:
    accuracies = {"a": [90, 80, 95], "b": [80, 90, 94], "c": [88, 89, 86], "d": [10, 11, 12]}
    _, lead, level, _ = _summary(_written(tmp_path / "s", accuracies))
    assert lead.startswith("Next is b, 0.3 points behind, which is inside the noise over seeds (±")
    assert lead.endswith("): no winner yet.")
    assert level == "Not to be told from a, over seeds and tasks: b, c."


def test_a_variant_that_lacks_a_task_is_no_rival(alpha: Path) -> None:
    assert _summary(alpha) == [
        "base is ahead of 3 others: 63.0 % test accuracy, mean of groups, with 3,104 trainable parameters "
        "without the head.",
        "Next is twin, 0.0 points behind, which is inside the noise over seeds (±\u00a00.0): no winner yet.",
        "Not to be told from base, over seeds and tasks: twin, big.",
        "All trials together cost 1 slot-hour.",
    ]


def test_of_one_seed_the_noise_is_not_known(tmp_path: Path) -> None:
    found = _summary(_written(tmp_path / "s", {"a": [90], "b": [80]}))
    assert found[1].endswith("which is from one seed a task, so that the noise is not known.")


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ({"a": [90, 91]}, "Nothing else is complete to compare it with."),
        ({"a": [None]}, "No variant has a final trial on every task yet."),
    ],
)
def test_without_anything_to_compare(tmp_path: Path, accuracies: dict[str, Any], expected: str) -> None:
    assert _summary(_written(tmp_path / "s", accuracies))[0].endswith(expected)
