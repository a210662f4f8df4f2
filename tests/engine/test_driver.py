from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.conftest import LR, small_study
from tests.curves import curve
from tests.synthetic import environment
from wst.engine.driver import Driver
from wst.engine.faults import DISK_FULL
from wst.ledger import Ledger, history, read_table
from wst.ledger.reads import count_reads, log_path, read_log
from wst.planning.planner import Planner
from wst.records import Cost, End, EndedTrial, Epoch, Intent, Outcome, Report, Score
from wst.study import Study
from wst.trackers import Tracker, Trackers

CODE = {"version": "0", "commit": None, "libraries": "{}"}


def _driver(ledger: Ledger, slots: int = 1, trackers: Trackers | None = None) -> Driver:
    study = ledger.study
    planner = Planner(study, *history(ledger.folder))
    driver = Driver(study, planner, ledger, environment(ledger.folder, study), trackers=trackers)
    driver.slots = slots
    return driver


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "s", _study(), CODE) as opened:
        yield opened


def _study(**changes: Any) -> Study:
    variants = {"linear": {"method": "linear", "space": {"lr": LR}}}
    return small_study(**{"variants": variants, "search": {"trials": 12}, "final": None, **changes})


def _only(driver: Driver, job: str = "job") -> Intent:
    specs = driver.next_job(job)
    assert specs is not None and len(specs) == 1
    return specs[0].intent


def _ended(intent: Intent, end: End, epochs: Sequence[Epoch] = (), cost: Cost = Cost()) -> list[Report]:  # noqa: B008
    return [Report(intent.trial_id, tuple(epochs), cost, end)]


def _going_on(intent: Intent, epochs: list[Epoch]) -> list[Report]:
    return [Report(intent.trial_id, tuple(epochs), Cost())]


def _rows(ledger: Ledger) -> list[EndedTrial]:
    return history(ledger.folder)[1]


def test_intent_is_durable_before_its_job_starts(ledger: Ledger) -> None:
    intent = _only(_driver(ledger))
    intents, ended = history(ledger.folder)
    assert [i.trial_id for i in intents] == [intent.trial_id] and not ended


def test_no_more_jobs_than_slots(ledger: Ledger) -> None:
    driver = _driver(ledger, slots=2)
    assert driver.next_job("a") and driver.next_job("b")
    assert driver.next_job("c") is None


def test_trackers_hear_how_many_slots_have_work(ledger: Ledger) -> None:
    class Jobs(Tracker):
        heard: ClassVar[list[int]] = []

        def jobs(self, number: int) -> None:
            self.heard.append(number)

    driver = _driver(ledger, slots=2, trackers=Trackers([Jobs()]))
    first, _ = _only(driver, "a"), _only(driver, "b")
    driver.close("a", _ended(first, End(), curve(first, 4)))
    driver.lost("b", "killed")
    driver.give_up("b")
    assert Jobs.heard == [1, 2, 1, 0]


def test_epochs_sent_again_by_a_continued_trial_are_dropped(ledger: Ledger) -> None:
    driver = _driver(ledger)
    intent = _only(driver)
    epochs = curve(intent, 4)
    driver.take("job", _going_on(intent, epochs[:2]))
    driver.lost("job", "killed")
    driver.take("job", _going_on(intent, epochs[:3]))  # the checkpoint knew one epoch more than the driver
    driver.close("job", _ended(intent, End(), epochs[3:]))
    outcome = _rows(ledger)[0].outcome
    assert (outcome.epochs, outcome.attempts, outcome.data_hash) == (tuple(epochs), 2, "d")


def test_job_given_up_keeps_the_curve_and_the_reason(ledger: Ledger) -> None:
    driver = _driver(ledger)
    intent = _only(driver)
    driver.take("job", _going_on(intent, curve(intent, 4)[:1]))
    driver.lost("job", "actor died: the node was lost")
    driver.give_up("job")
    outcome = _rows(ledger)[0].outcome
    assert (outcome.state, outcome.error_type, len(outcome.epochs)) == ("failed", "WorkerLostError", 1)
    assert "the node was lost" in (outcome.error_text or "")


def test_worker_that_rays_memory_monitor_ends_counts_as_out_of_memory(ledger: Ledger) -> None:
    driver = _driver(ledger)
    _only(driver)
    driver.lost(
        "job", "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory"
    )
    driver.give_up("job")
    assert _rows(ledger)[0].outcome.error_type == "OutOfMemoryError"


def test_trial_out_of_memory_starts_again_within_its_budget_and_the_row_says_how_often(
    ledger: Ledger,
) -> None:
    driver = _driver(ledger)
    memory = End("OutOfMemoryError", "CUDA out of memory")
    first = _only(driver, "a")
    driver.close("a", _ended(first, memory, curve(first, 4)[:2]))
    assert not _rows(ledger)
    assert _only(driver, "b") == first
    driver.close("b", _ended(first, End(), curve(first, 4)))
    assert _rows(ledger)[0].outcome.attempts == 2
    assert [e.epoch for e in _rows(ledger)[0].outcome.epochs] == [1, 2, 3, 4]

    second = _only(driver, "c")
    for job in ("c", "d", "e"):
        if job != "c":
            assert _only(driver, job) == second
        driver.close(job, _ended(second, memory))
    outcome = _rows(ledger)[1].outcome
    assert (outcome.state, outcome.error_type, outcome.attempts) == ("failed", "OutOfMemoryError", 3)
    assert _only(driver, "f") not in (first, second)


def test_study_whose_trials_fail_alike_stops_and_says_why(ledger: Ledger) -> None:
    driver = _driver(ledger)
    for number in range(8):
        assert driver.fatal is None
        intent = _only(driver, str(number))
        error = End("ValueError", f"Traceback\nValueError: no {number}")
        driver.close(str(number), _ended(intent, error))
    assert driver.fatal == "8 of the last 8 trials failed with ValueError: ValueError: no 7"
    assert driver.next_job("next") is None and driver.finished
    assert len(_rows(ledger)) == 8


def test_different_failures_among_successes_stop_nothing(ledger: Ledger) -> None:
    driver = _driver(ledger)
    for number in range(12):
        intent = _only(driver, str(number))
        error = End(f"Error{number % 3}")
        driver.close(str(number), _ended(intent, error if number % 4 else End(), curve(intent, 4)))
    assert driver.fatal is None and driver.planner.done


def test_full_disk_under_the_ledger_stops_the_study_and_leaves_the_ledger_whole(ledger: Ledger) -> None:
    driver = _driver(ledger, slots=2)
    first, second = _only(driver, "a"), _only(driver, "b")
    driver.close("a", _ended(first, End(), curve(first, 4)))
    # A device without room: the kernel answers each write with ENOSPC.
    (ledger.folder / "ledger" / ".partial" / f"epochs-{second.trial_id}.parquet").symlink_to("/dev/full")
    driver.close("b", _ended(second, End(), curve(second, 4)))
    assert driver.fatal is not None and "No space left on device" in driver.fatal
    assert driver.next_job("c") is None and driver.finished
    intents, ended = history(ledger.folder)
    assert [t.intent.trial_id for t in ended] == [first.trial_id]
    assert Planner(ledger.study, intents, ended).ask() == intents[1]


def test_full_disk_of_a_worker_stops_the_study_and_the_trial_is_not_lost(ledger: Ledger) -> None:
    driver = _driver(ledger)
    intent = _only(driver)
    text = "Traceback\nOSError: [Errno 28] No space left on device: 'x.pt'"
    driver.close("job", _ended(intent, End(DISK_FULL, text)))
    assert driver.fatal is not None and "x.pt" in driver.fatal
    assert not _rows(ledger)


def test_nothing_is_written_for_a_job_that_is_given_up_after_the_study_had_to_stop(ledger: Ledger) -> None:
    driver = _driver(ledger, slots=2)
    first, _ = _only(driver, "a"), _only(driver, "b")
    driver.close("a", _ended(first, End(DISK_FULL, "No space left on device")))
    driver.lost("b", "killed")
    driver.give_up("b")
    assert driver.fatal is not None and not _rows(ledger)


@pytest.mark.parametrize("error", [DISK_FULL, "OutOfMemoryError", "ValueError"])
def test_failure_after_the_test_split_was_read_is_a_row_with_the_score(tmp_path: Path, error: str) -> None:
    """It is not tried again: that would read the test split once more."""
    variants = {"linear": {"method": "linear", "fixed": {"lr": 0.1}}}
    study = _study(variants=variants, search=None, final={"seeds": 2, "save_adapters": True})
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        driver = _driver(ledger)
        intent = _only(driver)
        driver.close("job", _ended(intent, End(error, "text", Score(0.5, 797)), curve(intent, 4)))
        (row,) = _rows(ledger)
        assert (row.outcome.state, row.outcome.error_type) == ("failed", error)
        assert (row.outcome.test_top1, row.outcome.test_images) == (0.5, 797)
        assert (driver.fatal is not None) == (error == DISK_FULL)


def test_seeds_of_a_final_share_a_job_on_request(tmp_path: Path) -> None:
    variants = {"linear": {"method": "linear", "fixed": {"lr": 0.1}}}
    study = _study(variants=variants, search=None, final={"seeds": 3, "seeds_per_job": 2})
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        driver = _driver(ledger)
        specs = driver.next_job("a")
        assert specs is not None and [s.intent.seed for s in specs] == [1, 2]
        first, second = (spec.intent for spec in specs)
        driver.take("a", _ended(first, End("ValueError")))
        both = _ended(first, End("ValueError"))  # comes again with the job's end
        driver.close("a", [*both, *_ended(second, End(test=Score(0.5, 797)), curve(second, 4))])
        assert [t.outcome.state for t in _rows(ledger)] == ["failed", "completed"]
        last = driver.next_job("b")
        assert last is not None and [s.intent.seed for s in last] == [3]


def test_settings_that_come_again_get_a_row_and_no_job(tmp_path: Path) -> None:
    space = {"lr": {"type": "categorical", "choices": [0.1, 0.01]}}
    study = _study(variants={"linear": {"method": "linear", "space": space}}, search={"trials": 4})
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        driver = _driver(ledger)
        for job in ("a", "b"):
            intent = _only(driver, job)
            driver.close(job, _ended(intent, End(), curve(intent, 4), Cost(train_seconds=1.0)))
        assert driver.next_job("c") is None and driver.finished
        rows = _rows(ledger)
        assert [(t.outcome.attempts, t.outcome.train_seconds) for t in rows] == [(1, 1.0)] * 2 + [
            (0, 0.0)
        ] * 2
        again = Planner(study, *history(ledger.folder))
        assert again.done


def test_settings_that_come_again_are_not_told_as_ended_when_their_row_cannot_be_written(
    tmp_path: Path,
) -> None:
    space = {"lr": {"type": "categorical", "choices": [0.1, 0.01]}}
    study = _study(variants={"linear": {"method": "linear", "space": space}}, search={"trials": 3})
    heard: list[str] = []

    class Listener(Tracker):
        def end(self, intent: Intent, outcome: Outcome) -> None:
            heard.append(intent.trial_id)

    with Ledger(tmp_path / "s", study, CODE) as ledger:
        driver = _driver(ledger, trackers=Trackers([Listener()]))
        for job in ("a", "b"):
            intent = _only(driver, job)
            driver.close(job, _ended(intent, End(), curve(intent, 4)))
        again = intent.trial_id.replace("0001", "0002")
        for table in ("epochs", "trials"):
            (ledger.folder / "ledger" / ".partial" / f"{table}-{again}.parquet").symlink_to("/dev/full")
        assert driver.next_job("c") is None and driver.fatal is not None
        assert len(heard) == len(_rows(ledger)) == 2 and not driver.planner.done


def test_job_that_ends_without_a_word_on_a_trial_leaves_none_running(ledger: Ledger) -> None:
    driver = _driver(ledger)
    _only(driver)
    driver.close("job", [])
    assert [t.outcome.error_type for t in _rows(ledger)] == ["WorkerLostError"]
    assert not driver.planner.running


def test_trackers_hear_of_each_epoch_once(ledger: Ledger) -> None:
    heard: list[tuple[str, object]] = []

    class Listener(Tracker):
        def start(self, intent: Intent) -> None:
            heard.append(("start", intent.number))

        def epochs(self, intent: Intent, epochs: Any) -> None:
            heard.extend(("epoch", epoch.epoch) for epoch in epochs)

        def end(self, intent: Intent, outcome: Outcome) -> None:
            heard.append(("end", outcome.state))

    driver = _driver(ledger, trackers=Trackers([Listener()]))
    intent = _only(driver)
    driver.take("job", _going_on(intent, curve(intent, 4)[:2]))
    driver.close("job", _ended(intent, End(), curve(intent, 4)))
    assert heard == [("start", 0), *(("epoch", e) for e in (1, 2, 3, 4)), ("end", "completed")]


def test_adapters_are_kept_for_finals_on_request(tmp_path: Path) -> None:
    variants = {"linear": {"method": "linear", "fixed": {"lr": 0.1}}}
    for keep in (False, True):
        study = _study(
            name=f"s{keep}", variants=variants, search=None, final={"seeds": 1, "save_adapters": keep}
        )
        with Ledger(tmp_path / str(keep), study, CODE) as ledger:
            specs = _driver(ledger).next_job("job")
            assert specs is not None and (specs[0].adapter_path is not None) == keep


def test_a_final_whose_adapter_has_no_place_does_not_start(tmp_path: Path) -> None:
    variants = {"linear": {"method": "linear", "fixed": {"lr": 0.1}}}
    study = _study(variants=variants, search=None, final={"seeds": 1, "save_adapters": True})
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        (ledger.folder / "adapters").write_text("")
        driver = _driver(ledger)
        assert driver.next_job("job") is None and driver.finished
        assert driver.fatal == (
            f"{ledger.folder / 'adapters'}: expected a place for the adapter of a final trial; "
            "found: File exists"
        )
        assert not _rows(ledger)
        (ledger.folder / "adapters").unlink()
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        assert _only(_driver(ledger)).stage == "final"


@pytest.mark.parametrize(("resources", "device"), [({}, "cpu"), ({"gpus_per_trial": 0.5}, "cuda")])
def test_trials_train_where_the_studys_resources_say(
    tmp_path: Path, resources: dict[str, float], device: str
) -> None:
    study = _study(resources=resources)
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        specs = _driver(ledger).next_job("job")
        assert specs is not None and specs[0].device == device


@pytest.fixture
def final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Of a study of two finals, with a cache of its own."""
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    variants = {"linear": {"method": "linear", "fixed": {"lr": 0.1}}}
    study = _study(variants=variants, search=None, final={"seeds": 2, "seeds_per_job": 2})
    with Ledger(tmp_path / "s", study, CODE) as opened:
        yield opened


def _both(driver: Driver, job: str = "job") -> list[Intent]:
    specs = driver.next_job(job)
    assert specs is not None
    return [spec.intent for spec in specs]


def _announced(intents: Sequence[Intent]) -> list[Report]:
    return [Report(i.trial_id, tuple(curve(i, 4)), Cost(), reads=797) for i in intents]


def _purposes(ledger: Ledger) -> list[str]:
    return [row["purpose"] for row in read_table(ledger.folder, "reads").sort_by("time").to_pylist()]


def test_a_read_is_in_the_ledger_and_the_users_log_before_it_happens(final: Ledger) -> None:
    driver = _driver(final)
    intents = _both(driver)
    driver.take("job", _announced(intents))
    rows = read_table(final.folder, "reads").to_pylist()
    assert [
        (r["trial_id"], r["test_hash"], r["images"]) for r in sorted(rows, key=lambda r: r["trial_id"])
    ] == [(intent.trial_id, "d", 797) for intent in intents]
    assert {entry["read_id"] for entry in read_log().entries} == {row["read_id"] for row in rows}
    assert not _rows(final)
    driver.take("job", _announced(intents))  # comes twice
    assert _purposes(final) == ["final trial of the study"] * 2


def test_a_lost_worker_and_a_next_start_read_again_and_both_are_counted(final: Ledger) -> None:
    driver = _driver(final)
    intents = _both(driver)
    driver.take("job", _announced(intents))
    driver.lost("job", "killed")
    driver.take("job", _announced(intents))
    again = _driver(final)  # as after a kill
    again.take("next", _announced(_both(again, "next")))
    assert len(_purposes(final)) == 6
    assert _purposes(final)[-1] == "final trial of the study; again, after it was interrupted while scoring"
    assert count_reads([final.folder])["digits"].own == 6


@pytest.mark.parametrize("what", ["log", "ledger"])
def test_what_cannot_be_written_down_stops_the_study_before_the_read(what: str, final: Ledger) -> None:
    driver = _driver(final)
    intents = _both(driver)
    if what == "log":
        log_path().mkdir(parents=True)
    else:
        reads = final.folder / "ledger" / "reads"
        reads.rmdir()
        reads.write_text("")
    driver.take("job", _announced(intents))
    assert driver.fatal is not None and "\n" not in driver.fatal
    assert driver.next_job("next") is None and driver.finished
    if what == "log":
        assert str(log_path()) in driver.fatal
        assert not read_table(final.folder, "reads").num_rows
    driver.close("job", [])
    assert not _rows(final)


def test_a_failed_final_that_has_read_stays_counted_and_a_retry_counts_again(final: Ledger) -> None:
    driver = _driver(final)
    intents = _both(driver)
    driver.take("job", _announced(intents))
    ended = [
        *_ended(intents[0], End("OSError", "no adapter", Score(0.5, 797))),
        *_ended(intents[1], End("X")),
    ]
    driver.close("job", ended)
    final.discard(intent.trial_id for intent in intents)
    assert count_reads([final.folder])["digits"].own == 2
    planner = Planner(final.study, *history(final.folder))
    retried = [intent.trial_id for intent in intents]
    again = Driver(final.study, planner, final, environment(final.folder, final.study), retried=retried)
    again.take("job", _announced(_both(again)))
    assert _purposes(final)[-1] == "final trial of the study; a retry of a failed trial"
    counted = count_reads([final.folder])["digits"]
    assert (counted.own, counted.others) == (4, 0)


def test_a_new_trial_does_not_go_on_from_the_state_of_a_lost_one_of_its_name(ledger: Ledger) -> None:
    left = ledger.folder / "checkpoints" / "digits.linear.search.0000.pt"
    left.parent.mkdir()
    left.write_text("of other settings")
    assert _only(_driver(ledger)).trial_id == left.stem
    assert not left.exists()
    left.write_text("its own")  # an interrupted one keeps it
    assert _only(_driver(ledger)).trial_id == left.stem and left.exists()
