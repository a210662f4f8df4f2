from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import LR, small_study
from wst.data.check.beside import Beside
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.engine.fingerprint import Fingerprint
from wst.training.spec import TrialSpec
from wst.workflows import costs
from wst.workflows.preflight import Checked


@pytest.mark.parametrize(("stage", "timed_images"), [("search", 800), ("final", 1000)])
def test_seconds_go_by_the_images_that_each_task_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, timed_images: int
) -> None:
    """A millisecond an image; the second task has fewer to search on and more to end with."""
    digits = MINI.task("digits")
    sizes = {"digits": (800, 200), "sprite_loc": (100, 300)}
    data = {
        name: TaskData(tmp_path, replace(digits, name=name, train=train, val=val))
        for name, (train, val) in sizes.items()
    }
    timed: list[TrialSpec] = []

    def seconds_per_epoch(spec: TrialSpec) -> float:
        timed.append(spec)
        return timed_images / 1000

    monkeypatch.setattr(costs, "seconds_per_epoch", seconds_per_epoch)
    searched = {"method": "linear", "space": {"lr": LR}}
    given = {"method": "linear", "fixed": {"lr": 0.1}}
    study = small_study(
        tasks=list(sizes),
        variants={"linear": searched if stage == "search" else given},
        search={"trials": 1} if stage == "search" else None,
    )
    parameters = {(task, "linear"): {"trainable": 0} for task in sizes}
    checked = Checked(data, Fingerprint("w", dict.fromkeys(sizes, "d")), parameters, Beside(data, {}))
    found = {cost.task: cost.seconds for cost in costs.expected_costs(study, checked)}
    for task, (train, val) in sizes.items():
        images = 4 * (train * (stage == "search") + 2 * (train + val))
        assert found[task] == pytest.approx(images / 1000)
    assert [spec.intent.task for spec in timed] == ["digits"]
