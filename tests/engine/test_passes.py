"""Which trials share a pass, and that a study ends as without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.execution.tune_controller import TuneController

from tests.conftest import LR, small_study
from tests.engine.test_driver import CODE, _driver
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.engine.passes import Passes
from wst.engine.ray_tune import TrialJob, _Scheduler
from wst.ledger import Ledger, history
from wst.records import Cost, End, Epoch, Intent, Report
from wst.study import Study
from wst.training.spec import TrialSpec, trial_spec
from wst.training.trial import Trial
from wst.workflows.tune import run_study

_SCALE = {"type": "categorical", "choices": [0.1, 1.0, 10.0]}


def _study(**changes: Any) -> Study:
    variants = {
        "wst": {"method": "wst", "fixed": {"r": 2}, "space": {"lr": LR, "scale": _SCALE}},
        "wst-r4": {"method": "wst", "fixed": {"r": 4}, "space": {"lr": LR, "scale": _SCALE}},
        "wst-any": {"method": "wst", "space": {"lr": LR, "r": {"type": "int", "low": 5, "high": 6}}},
    }
    resources = {"trials_per_pass": 6}
    asked = {"variants": variants, "tasks": ["digits", "emoji_group"], "resources": resources, "final": None}
    return small_study(**{**asked, "search": {"trials": 12}, **changes})


def _jobs(folder: Path, study: Study, jobs: int) -> list[list[TrialSpec]]:
    with Ledger(folder, study, CODE) as ledger:
        driver = _driver(ledger, slots=jobs)
        found = [driver.next_job(f"job-{number}") for number in range(jobs)]
    return [specs for specs in found if specs]


def _cells(specs: list[TrialSpec]) -> Counter[tuple[str, str]]:
    return Counter((spec.intent.task, spec.intent.variant) for spec in specs)


def test_trials_of_different_cells_come_first_and_few_of_a_search_that_learns(tmp_path: Path) -> None:
    first, second, third, *_ = _jobs(tmp_path, _study(), 4)
    assert all(spec.together == 6 for spec in first)
    assert _cells(first) == {("digits", "wst"): 3, ("emoji_group", "wst"): 3}
    assert _cells(second) == {("digits", "wst-r4"): 3, ("emoji_group", "wst-r4"): 3}
    # shapes that the search itself decides on: a pass for each
    assert _cells(third) == {("digits", "wst-any"): 1}


def test_a_search_that_learns_has_at_most_four_running_for_the_sake_of_a_pass(tmp_path: Path) -> None:
    wst = {"wst": _study().variants["wst"]}
    one = {"variants": wst, "tasks": ["digits"], "resources": {"trials_per_pass": 8}}
    (learning,) = _jobs(tmp_path / "tpe", _study(**one), 1)
    assert len(learning) == 4
    search = {"trials": 12, "sampler": {"type": "random"}}
    (random,) = _jobs(tmp_path / "random", _study(**one, search=search), 1)
    assert len(random) == 8


def test_one_that_ran_out_of_memory_starts_again_alone(tmp_path: Path) -> None:
    with Ledger(tmp_path, _study(), CODE) as ledger:
        driver = _driver(ledger, slots=2)
        specs = driver.next_job("job")
        assert specs is not None and len(specs) == 6
        memory = End("OutOfMemoryError", "CUDA out of memory")
        driver.close("job", [Report(spec.intent.trial_id, (), Cost(), memory) for spec in specs])
        again = [driver.next_job(f"again-{number}") for number in range(2)]
        assert [[one.intent for one in found or []] for found in again] == [[s.intent] for s in specs[:2]]


def test_seeds_of_a_final_that_ran_out_of_memory_together_start_again_alone(tmp_path: Path) -> None:
    variants = {"wst": {"method": "wst", "fixed": {"r": 2, "lr": 1e-3}}}
    final = {"seeds": 4, "seeds_per_job": 4}
    study = _study(variants=variants, search=None, final=final, resources={"trials_per_pass": 2})
    with Ledger(tmp_path, study, CODE) as ledger:
        driver = _driver(ledger, slots=3)
        specs = driver.next_job("job")
        assert specs is not None and len(specs) == 4 and {spec.together for spec in specs} == {2}
        memory = End("OutOfMemoryError", "CUDA out of memory")
        driver.close("job", [Report(spec.intent.trial_id, (), Cost(), memory) for spec in specs])
        again = [driver.next_job(f"again-{number}") for number in range(3)]
        assert [[one.intent for one in found or []] for found in again] == [[s.intent] for s in specs[:3]]


def test_a_pass_whose_worker_the_host_ended_for_memory_starts_again_trial_by_trial(tmp_path: Path) -> None:
    with Ledger(tmp_path, _study(), CODE) as ledger:
        driver = _driver(ledger)
        specs = driver.next_job("job")
        assert specs is not None and len(specs) == 6
        driver.lost("job", "ray.exceptions.OutOfMemoryError: Task was killed")
        driver.give_up("job")
        assert not history(tmp_path)[1]
        alone = driver.next_job("alone")
        assert [spec.intent for spec in alone or []] == [specs[0].intent]
        driver.lost("alone", "ray.exceptions.OutOfMemoryError: Task was killed")
        driver.give_up("alone")
        assert [trial.outcome.error_type for trial in history(tmp_path)[1]] == ["OutOfMemoryError"]


def test_a_pass_that_fails_as_a_whole_is_one_failure_of_many(tmp_path: Path) -> None:
    with Ledger(tmp_path, _study(faults={"stop_when_alike": 3}), CODE) as ledger:
        driver = _driver(ledger)
        for job in ("one", "two"):
            specs = driver.next_job(job)
            assert specs is not None and len(specs) == 6
            driver.close(
                job, [Report(s.intent.trial_id, (), Cost(), End("ValueError", "planted")) for s in specs]
            )
            assert driver.fatal is None
        specs = driver.next_job("three")
        driver.close(
            "three",
            [Report(s.intent.trial_id, (), Cost(), End("ValueError", "planted")) for s in specs or []],
        )
        assert driver.fatal is not None


def test_ray_tells_a_job_which_of_its_trials_need_not_go_on(tmp_path: Path) -> None:
    """Its scheduler can stop a job as a whole only."""
    halving = {"type": "successive_halving", "min_resource": 1, "reduction_factor": 2}
    study = _study(search={"trials": 12, "pruner": halving}, report_every=1)
    calls: list[tuple[str, frozenset[str]]] = []

    class Controller:
        def _schedule_trial_task(self, trial: Any, name: str, args: Any) -> None:
            assert callable(getattr(TrialJob, name))
            calls.append((name, *args))

    assert callable(TuneController._schedule_trial_task)
    with Ledger(tmp_path, study, CODE) as ledger:
        driver = _driver(ledger)
        scheduler, specs = _Scheduler(driver), driver.next_job("job")
        assert specs is not None and len(specs) == 6
        ids = [spec.intent.trial_id for spec in specs]
        job = SimpleNamespace(trial_id="job", config={"specs": specs}, get_error=lambda: "killed")
        reports = tuple(
            Report(trial_id, (Epoch(1, 1e-3, 1.0, 1.0, 0.9 - 0.1 * i, 0.1),), Cost())
            for i, trial_id in enumerate(ids)
        )
        assert scheduler.on_trial_result(Controller(), job, {"reports": reports}) == "CONTINUE"
        ((name, dropped),) = calls
        left = driver.running("job")
        assert name == "leave" and dropped and dropped.isdisjoint(left) and {*dropped, *left} == set(ids)
        # a worker that is lost starts again without those that have ended
        scheduler.on_trial_error(Controller(), job)
        assert {spec.intent.trial_id for spec in job.config["specs"]} == left
        ends = tuple(Report(trial_id, (), Cost(), End()) for trial_id in left)
        assert scheduler.on_trial_result(Controller(), job, {"reports": ends}) == "STOP"


def test_stages_do_not_mix() -> None:
    passes = Passes(_study(confirm={"top": 1, "seeds": 1}))
    settings = {"lr": 1e-3, "weight_decay": 0.0, "drop_path": 0.0, "r": 2, "scale": 1.0}
    search, confirm = (
        passes.kind(Intent("t", "digits", "wst", stage, 0, 0, 0, {**settings, "scale": scale}))
        for stage, scale in (("search", 1.0), ("confirm", 0.1))
    )
    assert search == passes.kind_of_search("digits", "wst") and search != confirm
    assert search[1:] == confirm[1:]


@pytest.mark.slow
def test_a_study_in_passes_has_the_numbers_of_trials_alone(mini_root: Path, tmp_path: Path) -> None:
    fixed = {"r": 2, "drop_path": 0.2}
    study = small_study(
        variants={"wst": {"method": "wst", "fixed": fixed, "space": {"lr": LR, "scale": _SCALE}}},
        tasks=["digits", "emoji_group"],
        search={"trials": 1},
        recipe={"epochs": 1, "warmup_epochs": 0},
        resources={"trials_per_pass": 4},
    )
    run_study(study, tmp_path / "s", str(mini_root), inline=True)
    trials = history(tmp_path / "s")[1]
    sizes = [(trial.intent.stage, trial.outcome.pass_size) for trial in trials]
    assert sizes == [("search", 2)] * 2 + [("final", 4)] * 4
    assert len({trial.outcome.pass_id for trial in trials}) == 2
    for trial in (trials[0], trials[-1]):
        data = TaskData.of(mini_root, MINI, MINI.task(trial.intent.task))
        alone = Trial(trial_spec(study, trial.intent, data=data))
        (epoch,), (found,) = alone.epochs(), trial.outcome.epochs
        assert found.train_loss == pytest.approx(epoch.train_loss, rel=1e-4)
        if trial.intent.stage == "final":
            assert trial.outcome.test_top1 == pytest.approx(alone.test().top1, abs=0.01)
