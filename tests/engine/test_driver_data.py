"""What the driver does with what is known of a study's images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import small_study
from tests.curves import curve
from tests.synthetic import environment
from wst.data.check.report import Finding, TaskReport
from wst.engine.driver import Driver
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import Cost, End, Report, Score

CODE = {"version": "0", "commit": None, "libraries": "{}"}
FINDINGS = (
    Finding("warning", "coverage", "train", "no cat"),
    Finding("warning", "overlap", "test", "some"),
)


class _Looking:
    """Stands for :class:`wst.data.check.beside.Beside`."""

    def __init__(self, seen: bool):
        report = TaskReport("digits", Path(), 10, val_overlap=0.25, test_overlap=0.5, findings=FINDINGS)
        self.reports = {"digits": report}
        self.is_seen, self.waited = seen, 0
        self.stop: Callable[[str], None]

    def on_problem(self, stop: Callable[[str], None]) -> None:
        self.stop = stop

    def seen(self, task: str) -> bool:
        return self.is_seen

    def wait(self, task: str, meanwhile: Callable[[], object]) -> bool:
        self.waited += 1
        meanwhile()
        return self.is_seen


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    study = small_study(
        variants={"a": {"method": "linear", "fixed": {"lr": 0.1}}},
        search={"trials": 2},
        final={"seeds": 2, "seeds_per_job": 1},
    )
    with Ledger(tmp_path / "s", study, CODE) as opened:
        yield opened


def _driver(ledger: Ledger, looking: Any, slots: int = 1) -> Driver:
    planner = Planner(ledger.study, *history(ledger.folder))
    where = environment(ledger.folder, ledger.study, beside=looking)
    driver = Driver(ledger.study, planner, ledger, where)
    driver.slots = slots
    return driver


def _scored(driver: Driver, job: str) -> None:
    specs = driver.next_job(job)
    assert specs is not None
    driver.close(job, [Report(s.intent.trial_id, (), Cost(), End(test=Score(0.5, 10))) for s in specs])


def test_a_final_is_held_until_its_test_split_has_been_looked_at(ledger: Ledger) -> None:
    looking = _Looking(seen=True)
    driver = _driver(ledger, looking, slots=2)
    first = driver.next_job("a")
    assert first is not None
    looking.is_seen = False
    assert driver.next_job("b") is None and not looking.waited  # another job runs: nobody has to wait
    assert [i.number for i in history(ledger.folder)[0]] == [0]  # what is held is not in the ledger
    driver.close("a", [Report(first[0].intent.trial_id, (), Cost(), End(test=Score(0.5, 10)))])
    assert driver.next_job("b") is None and looking.waited == 1 and not driver.finished
    looking.is_seen = True
    second = driver.next_job("b")
    assert second is not None and second[0].intent.number == 1


def test_what_is_raised_while_waiting_ends_the_waiting(ledger: Ledger) -> None:
    def over() -> None:
        raise KeyboardInterrupt

    driver = _driver(ledger, _Looking(seen=False))
    driver.while_waiting = over
    with pytest.raises(KeyboardInterrupt):
        driver.next_job("a")
    assert history(ledger.folder) == ([], [])


def test_a_problem_stops_the_study_and_writes_nothing_more(ledger: Ledger) -> None:
    looking = _Looking(seen=True)
    driver = _driver(ledger, looking)
    specs = driver.next_job("a")
    assert specs is not None
    looking.stop("test: expected a readable image")
    assert driver.finished and driver.fatal == "test: expected a readable image"
    driver.close("a", [Report(specs[0].intent.trial_id, (), Cost(), End(test=Score(0.5, 10)))])
    assert driver.next_job("b") is None and not history(ledger.folder)[1]


def test_rows_hold_what_the_check_says_of_the_splits_they_rest_on(ledger: Ledger, tmp_path: Path) -> None:
    _scored(_driver(ledger, _Looking(seen=True)), "a")
    (final,) = history(ledger.folder)[1]
    outcome = final.outcome
    assert (outcome.val_overlap, outcome.test_overlap) == (0.25, 0.5)
    assert outcome.data_warnings == "train: no cat; test: some"
    study = small_study(final=None, search={"trials": 2})
    with Ledger(tmp_path / "searched", study, CODE) as searched:
        driver = _driver(searched, _Looking(seen=False))
        specs = driver.next_job("a")
        assert specs is not None
        driver.close("a", [Report(specs[0].intent.trial_id, tuple(curve(specs[0].intent, 4)), Cost(), End())])
        (row,) = history(searched.folder)[1]
    assert (row.outcome.val_overlap, row.outcome.test_overlap) == (0.25, None)
    assert row.outcome.data_warnings == "train: no cat"
