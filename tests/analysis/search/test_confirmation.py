"""The confirm stage of the hand-made ledger: ranks, means, optimism, and what the report shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.figures.search import confirmed
from analysis.load import studies_of
from analysis.report.sections import write_report
from analysis.search.confirmation import as_table, confirmations, in_words
from analysis.search.trials import read_search
from tests.analysis.ledgers import Writer
from tests.analysis.staged_ledgers import extended_study


def test_candidates_worked_out_by_hand(extended: Path) -> None:
    studies = studies_of([extended])
    found = {one.task: one for one in confirmations(*read_search([extended], studies), studies)}
    digits = found["digits"]
    assert [(c.trial_id[-1], c.rank, c.searched, c.confirmed, c.optimism) for c in digits.candidates] == [
        ("5", 1, pytest.approx(90), pytest.approx(83), pytest.approx(7)),
        ("6", 2, pytest.approx(85), pytest.approx(83), pytest.approx(2)),
        ("1", 3, pytest.approx(82), pytest.approx(81), pytest.approx(1)),
        ("0", 4, pytest.approx(80), pytest.approx(84), pytest.approx(-4)),  # 3 is 1 again, and has no rank
    ]
    assert digits.candidates[0].deviation == pytest.approx(2**0.5)
    assert digits.chosen is digits.candidates[1]
    # Ranks by confirmed accuracy are 2.5, 2.5, 4, 1, in the search 1 to 4: products of deviations add
    # up to -1.5, their squares to 4.5 and 5.
    assert digits.agreement == pytest.approx(-1.5 / (5 * 4.5) ** 0.5)
    emoji = found["emoji_group"]
    assert emoji.chosen is emoji.candidates[0] and emoji.agreement is None
    assert in_words(list(found.values())) == [
        # (85 - 83 + 70 - 66) / 2
        "The search's accuracy of the chosen settings is +3.00 points above the mean that confirmed them, on "
        "average over 2 cells; 1 of 2 were first in the search.",
        "Rank in the search against confirmed accuracy: Spearman's correlation -0.32, mean over 1 cell.",
    ]
    rows = as_table(list(found.values())).rows
    assert [row["chosen"] for row in rows] == [False, True, "earlier candidate", "earlier candidate", True]
    (trace,) = confirmed([digits]).data
    assert list(trace.x) == [1, 2, 3, 4]
    assert list(trace.y) == pytest.approx([83, 83, 81, 84])


def test_settings_with_a_failed_seed_are_out(tmp_path: Path) -> None:
    study = extended_study()
    writer = Writer(tmp_path / "s", study)
    with writer.ledger:
        for number, top1 in enumerate((0.9, 0.8)):
            settings = {"lr": 0.001 * (number + 1), "r": 2}
            parent = writer.add("digits", "base", "search", number, settings, val=top1, loss=1.0)
            for seed in range(2):
                more = {"seed": 1001 + seed, "parent": parent}
                if (number, seed) == (0, 1):
                    failed = {"state": "failed", "error_type": "RuntimeError", "error_text": "it broke"}
                    writer.add("digits", "base", "confirm", 1, settings, **more, **failed)
                else:
                    writer.add("digits", "base", "confirm", 2 * number + seed, settings, val=0.7, **more)
    studies = studies_of([tmp_path / "s"])
    (found,) = confirmations(*read_search([tmp_path / "s"], studies), studies)
    assert found.chosen is found.candidates[1]
    assert (found.candidates[0].failed, found.candidates[0].confirmed) == (1, None)
    assert [row["chosen"] for row in as_table([found]).rows] == ["out: a seed failed", True]


def test_settings_that_tasks_share_are_ranked_and_chosen_by_their_means(shared: Path) -> None:
    studies = studies_of([shared])
    found = confirmations(*read_search([shared], studies), studies)
    assert [one.task for one in found] == ["digits", "emoji_group"]
    searched, means = [(88, 90, 60), (60, 50, 70)], [(81, 84, 60), (62, 50)]
    for one, val, mean in zip(found, searched, means, strict=True):
        assert [c.trial_id for c in one.candidates] == [f"{one.task}.base.search.000{n}" for n in (3, 0, 1)]
        assert [c.rank for c in one.candidates] == [1, 2, 3]
        assert [c.searched for c in one.candidates] == pytest.approx(val)
        assert [c.confirmed for c in one.candidates if c.confirmed] == pytest.approx(mean)
        assert one.chosen is one.candidates[0] and one.agreement is None
    verdicts = [row["chosen"] for row in as_table(found).rows]
    assert verdicts == [True, False, "out: a seed failed on another task", True, False, "out: a seed failed"]


@pytest.mark.slow
def test_the_report_has_a_section_on_it(extended: Path, tmp_path: Path) -> None:
    write_report([extended], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for expected in (
        "Candidates confirmed",
        "+3.00 points above the mean that confirmed them",
        "2 final trials of earlier winners are left out",
        "8 settings have more trainable parameters than the ceiling",
        "Test split of digits read 8 times: base 4, twin 4.",
    ):
        assert expected in page, expected
