from __future__ import annotations

from pathlib import Path

from tests.conftest import small_study
from tests.synthetic import curve
from wst.driver import Driver, Environment
from wst.ledger import Ledger, history
from wst.planner import Planner
from wst.records import Outcome

CODE = {"version": "0", "commit": None, "libraries": "{}"}


def _driver(folder: Path, ledger: Ledger) -> Driver:
    study = ledger.study
    planner = Planner(study, *history(folder))
    return Driver(study, planner, ledger, Environment(folder, {"digits": "d"}), lambda: None)


def test_intent_is_durable_before_its_job_starts(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        driver = _driver(tmp_path / "s", ledger)
        spec = driver.next_job("job")
        assert spec is not None
        intents, ended = history(tmp_path / "s")
        assert [i.trial_id for i in intents] == [spec.intent.trial_id] and not ended


def test_no_more_jobs_than_slots(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        driver = _driver(tmp_path / "s", ledger)
        driver.slots = 2
        assert driver.next_job("a") and driver.next_job("b")
        assert driver.next_job("c") is None


def test_epochs_sent_again_by_a_continued_trial_are_dropped(tmp_path: Path) -> None:
    study = small_study(search={"trials": 1}, final=None)
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        driver = _driver(tmp_path / "s", ledger)
        spec = driver.next_job("job")
        assert spec is not None
        epochs = curve(spec.intent, 4)
        driver.report("job", epochs[:2])
        driver.lost("job", "killed")
        driver.report("job", epochs[:3])  # the checkpoint knew one epoch more than the driver
        driver.end("job", epochs[3:], Outcome("completed"))
        outcome = history(tmp_path / "s")[1][0].outcome
        assert (outcome.epochs, outcome.attempts, outcome.data_hash) == (tuple(epochs), 2, "d")


def test_job_given_up_keeps_the_curve_and_the_reason(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        driver = _driver(tmp_path / "s", ledger)
        spec = driver.next_job("job")
        assert spec is not None
        driver.report("job", curve(spec.intent, 4)[:1])
        driver.lost("job", "actor died: out of memory")
        driver.give_up("job")
        outcome = history(tmp_path / "s")[1][0].outcome
        assert (outcome.state, outcome.error_type, len(outcome.epochs)) == ("failed", "WorkerLost", 1)
        assert "out of memory" in (outcome.error_text or "")


def test_adapters_are_kept_for_finals_on_request(tmp_path: Path) -> None:
    variants = {"linear": {"method": "linear", "fixed": {"lr": 0.1}}}
    for keep in (False, True):
        study = small_study(
            name=f"s{keep}", variants=variants, search=None, final={"seeds": 1, "save_adapters": keep}
        )
        with Ledger(tmp_path / str(keep), study, CODE) as ledger:
            spec = _driver(tmp_path / str(keep), ledger).next_job("job")
            assert spec is not None and (spec.adapter_path is not None) == keep
