"""What the figures of a search hold: the numbers, bounded in size, and no markup from a ledger."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.figures import search as figures
from analysis.search.curves import SearchCurve
from wst.study.space import Categorical, Distribution, Float

SPACE: dict[str, Distribution] = {
    "lr": Float(low=1e-4, high=1e-2, log=True),
    "scale": Categorical(choices=(0.1, 1.0, 10.0)),
}
BAD = "<img src=x onerror=alert(1)>"


def _trials(lr: list[float], scale: list[float], accuracy: list[float], name: str = "t") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial_id": [f"{name}{i}" for i in range(len(lr))],
            "state": "completed",
            "attempts": 1,
            "val_top1_last": accuracy,
            "hp_lr": lr,
            "hp_scale": scale,
        }
    )


def _many(number: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    lr = 10 ** generator.uniform(-4, -2, number)
    scale = generator.choice([0.1, 1.0, 10.0], number)
    return _trials(lr.tolist(), scale.tolist(), generator.uniform(0.3, 0.9, number).tolist())


def test_response_surface_is_the_mean_by_cell() -> None:
    trials = _trials([1e-4, 1.1e-4, 9e-3, 9e-3], [0.1, 0.1, 10.0, 10.0], [0.5, 0.7, 0.8, 0.9])
    found = figures.response_surface(trials, SPACE, bins=2)
    assert found is not None
    (heatmap,) = found["data"]
    assert heatmap["x"] == ["0.0001 to 0.001", "0.001 to 0.01"]
    assert heatmap["y"] == ["0.1", "1", "10"]
    assert heatmap["z"] == [[pytest.approx(60), None], [None, None], [None, pytest.approx(85)]]
    assert heatmap["customdata"] == [[2, 0], [0, 0], [0, 2]]


def test_response_surface_needs_both_hyperparameters() -> None:
    trials = _trials([1e-3], [1.0], [0.5])
    assert figures.response_surface(trials, {"lr": SPACE["lr"]}) is None
    assert figures.response_surface(trials.assign(state="pruned"), SPACE) is None


def test_slices_have_every_trial_and_the_whole_range() -> None:
    found = figures.slices(_trials([1e-3, 2e-3], [1.0, 10.0], [0.5, 0.6]), SPACE)
    lr, scale = found["data"]
    assert lr["x"] == [1e-3, 2e-3]
    assert lr["y"] == pytest.approx([50, 60])
    assert scale["x"] == ["1.0", "10.0"]
    assert found["layout"]["xaxis"]["range"] == pytest.approx([-4.1, -1.9])
    assert found["layout"]["xaxis2"]["categoryarray"] == ["0.1", "1.0", "10.0"]


def test_pictures_of_many_trials_stay_small_and_keep_the_best() -> None:
    trials = _many(10_000)
    assert all(len(trace["x"]) <= figures.MOST_POINTS for trace in figures.slices(trials, SPACE)["data"])
    traces = figures.parallel_coordinates(trials, SPACE)["data"]
    drawn = {text.split("<br>")[0] for trace in traces for text in trace["text"] if text}
    assert len(drawn) <= figures.MOST_LINES
    best = trials.nlargest(20, "val_top1_last")["trial_id"]
    assert set(best) <= drawn


def test_parallel_coordinates_of_one_trial() -> None:
    found = figures.parallel_coordinates(_trials([1e-3], [10.0], [0.5]), SPACE)
    (trace,) = found["data"]
    assert trace["y"][:3] == pytest.approx([0.5, 1.0, 0.0])  # lr half-way on a log axis, the last choice


def test_hyperparameters_that_do_not_apply_are_left_blank() -> None:
    nan = float("nan")
    trials = _trials([1e-3, nan, 1e-3], [1.0, 10.0, nan], [0.5, 0.6, 0.7])
    sliced = figures.slices(trials, SPACE)
    lr, scale = sliced["data"]
    assert (lr["x"], lr["y"]) == ([1e-3, 1e-3], pytest.approx([50, 70]))
    assert (scale["x"], scale["text"]) == (["1.0", "10.0"], ["t0", "t1"])
    parallel = figures.parallel_coordinates(trials, SPACE)
    lines = {
        trace["text"][i].split("<br>")[0]: trace["y"][i : i + 3]
        for trace in parallel["data"]
        for i in range(0, len(trace["text"]), 4)
    }
    assert lines["t1"] == [None, pytest.approx(1.0), pytest.approx(0.5)]
    assert lines["t2"] == [pytest.approx(0.5), None, pytest.approx(1.0)]
    assert not any("lr" in text for t in parallel["data"] for text in t["text"] if text and "t1" in text)
    surface = figures.response_surface(trials, SPACE, bins=2)
    assert surface is not None and sum(map(sum, surface["data"][0]["customdata"])) == 1
    for drawn in (sliced, parallel, surface):
        json.dumps(drawn, allow_nan=False)


def test_search_curves_draw_the_steps_alone() -> None:
    best = [float("nan"), 50.0, 50.0, 60.0, 60.0, 60.0]
    number = list(range(1, 7))
    curve = SearchCurve("s", "v", "digits", number, number, [1.0] * 6, best)
    (trace,) = figures.search_curves([curve]).data
    assert list(trace.x) == [2, 4, 6]
    assert list(trace.y) == [50, 60, 60]


def test_markup_from_a_ledger_is_escaped() -> None:
    trials = _trials([1e-3], [1.0], [0.5], name=BAD)
    curve = SearchCurve("s", BAD, "digits", [1], [1], [1.0], [50.0])
    drawn: list[Any] = [
        figures.slices(trials, SPACE),
        figures.parallel_coordinates(trials, SPACE),
        json.loads(figures.search_curves([curve]).to_json()),
        json.loads(figures.val_against_test([(BAD, BAD, 1.0, 2.0)]).to_json()),
        json.loads(figures.importance_bars({BAD: {BAD: 1.0}}).to_json()),
    ]
    for figure in drawn:
        figure["layout"].pop("template", None)
        assert "&lt;img" in json.dumps(figure)
        assert "<img" not in json.dumps(figure)
