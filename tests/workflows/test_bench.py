"""A small study measured on this machine: how the figures hang together, whatever they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import caller
from tests.conftest import small_study
from wst.training.layouts import Layout
from wst.training.timing import Speed
from wst.workflows.bench import Bench, _layouts

SPEED = Speed(training=100.0, scoring=300.0, operations=10**7, precision="fp32", memory=None)


def _bench(images: list[float | None], device: str = "cpu", devices: int = 4) -> Bench:
    layouts = [Layout(2**place, 1, images=rate) for place, rate in enumerate(images)]
    return Bench(device, devices, {"fp32": 1e10}, {"wst": SPEED}, "wst", layouts, 3600.0)


def test_the_best_layout_is_the_fastest_and_of_equals_the_smallest() -> None:
    assert _bench([100, 180, 240]).best.slots == 4
    assert _bench([100, 180, 182]).best.slots == 2
    assert _bench([100, None, None]).best.slots == 1


def test_hours_follow_the_gain_and_the_number_of_gpus() -> None:
    assert _bench([100, 200, 150]).wall_seconds == 1800
    assert _bench([100, 150, None], "NVIDIA H100", 8).wall_seconds == 300


def test_share_of_the_peak() -> None:
    assert _bench([100]).share("wst") == pytest.approx(0.1)


@pytest.mark.slow
def test_the_verb_prints_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With few layouts: each slot of one is a process."""
    layouts = [Layout(2, 1), Layout(1, 1, together=4)]
    monkeypatch.setattr("wst.workflows.bench._layouts", lambda *_: layouts)
    wst = caller(monkeypatch, capsys)
    path = tmp_path / "small.yaml"
    path.write_text(
        "{name: small, suite: mini, tasks: [digits], backbone: micro, final: {seeds: 1}, variants: {"
        "linear: {method: linear, fixed: {lr: 1e-3}}, wst-r2: {method: wst, fixed: {lr: 1e-3, r: 2}}}}"
    )
    result = wst("bench", str(path), "--seconds", "0.1", "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert set(found["resources"]) == {"slots", "cpus_per_trial", "trials_per_pass", "steps"}
    assert found["device"] == "cpu" and found["hours"] > 0 and found["gpu hours"] is None
    assert all(speed["training"] > 0 and speed["scoring"] > 0 for speed in found["variants"].values())
    assert 0 < found["variants"]["wst-r2"]["share of the peak"] < 2
    tried = found["layouts"]["tried"]
    assert found["layouts"]["variant"] != "linear" and all(layout["images"] > 0 for layout in tried)
    found = [(one["slots"], one["threads"], one["together"], one["steps"]) for one in tried]
    assert found == [(2, 1, 1, "eager"), (1, 1, 4, "eager")]


def test_layouts_on_a_cpu_keep_all_cores_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wst.workflows.bench.usable_cpus", lambda: 6)
    found = [(one.slots, one.threads, one.together) for one in _layouts(small_study(), cuda=False)]
    assert found == [(1, 6, 1), (2, 3, 1), (4, 1, 1), (6, 1, 1), (6, 1, 4)]


def test_layouts_on_a_gpu_are_one_thing_more_than_captured_steps_each() -> None:
    eager, *found = list(_layouts(small_study(), cuda=True))
    assert (eager.slots, eager.together, eager.steps) == (1, 1, "eager")
    assert all(one.slots == 1 or (one.together, one.steps) == (1, "captured") for one in found)
    assert {one.together for one in found if one.steps == "captured"} == {1, 2, 4, 8}
    assert {one.slots for one in found} == {1, 2, 3, 4}
    assert [one.together for one in found if one.steps == "compiled"] == [1, 4]
