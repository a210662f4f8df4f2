from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from analysis.figures.simulation import draw, figure
from analysis.simulation import Comparison, as_plain, as_table, best_so_far, compare, first_reached
from analysis.tables import show
from tests.conftest import small_study
from tests.synthetic import run_all
from wst.cli.simulate import simulate_app
from wst.errors import InputError
from wst.ledger import Ledger
from wst.planning.planner import Planner
from wst.simulation.replay import CellReplay
from wst.study import Study

EPOCHS = 4


def study(name: str, **search: Any) -> Study:
    return small_study(
        name=name,
        final=None,
        variants={"linear": small_study().variants["linear"].model_dump()},
        search={"trials": 24, "sampler": {"type": "random"}, **search},
    )


def cell(compute: list[float], accuracy: list[float], total: float = 0.0, **more: Any) -> CellReplay:
    known = {"task": "digits", "variant": "linear", "pruned": 0, "repeated": 0, "clock": 0.0}
    end = total or compute[-1]
    return CellReplay(compute=tuple(compute), accuracy=tuple(accuracy), total=end, **{**known, **more})


def searches(repeats: int, seed: int, speed: float = 1.0, trials: int = 24) -> list[list[CellReplay]]:
    """Trials of random accuracies, ``speed`` of which fit into the time of one."""
    rng = np.random.default_rng(seed)
    accuracies = rng.uniform(0.3, 0.9, size=(repeats, trials))
    return [[cell([(i + 1) / speed for i in range(trials)], row.tolist())] for row in accuracies]


def pair(repeats: int, speed: float, other_seed: int) -> Comparison:
    replays = {"one": searches(repeats, 0), "other": searches(repeats, other_seed, speed)}
    return compare([study("one"), study("other")], replays, "one")


def test_best_so_far_is_a_staircase() -> None:
    grid = np.arange(0, 13) / 4
    found = best_so_far(cell([1.0, 1.5, 2.75], [0.5, 0.4, 0.8]), grid)
    assert np.isnan(found[:4]).all()
    assert found[4:].tolist() == [50.0] * 7 + [80.0, 80.0]
    assert np.isnan(best_so_far(cell([], [], total=1.0), grid)).all()


def test_first_reached() -> None:
    grid = np.arange(4.0)
    curves = np.array([[np.nan, 1, 2, 3], [np.nan, 5, 5, 5], [np.nan, 0, 0, 1]], dtype=float)
    assert first_reached(curves, np.array([2.0, 4.0, 2.0]), grid).tolist() == [2, 1, math.inf]


def test_a_search_at_a_third_of_the_cost_needs_a_third_of_the_compute() -> None:
    """The same trials three times as fast: the ratio is a third in every resample."""
    replays = {"one": searches(30, 0), "fast": searches(30, 0)}
    replays["one"] = [[cell([3 * c for c in x[0].compute], list(x[0].accuracy))] for x in replays["one"]]
    found = compare([study("one"), study("fast")], replays, "one").studies
    for reach in found[1].reach:
        assert reach.ratio.estimate == pytest.approx(1 / 3)
        assert (reach.ratio.low, reach.ratio.high) == pytest.approx((1 / 3, 1 / 3))
    assert [reach.budget for reach in found[0].reach] == [72, 36, 18]
    assert all(reach.ratio.estimate == reach.ratio.low == reach.ratio.high == 1 for reach in found[0].reach)
    assert found[0].accuracy == found[1].accuracy


def test_bands_hold_the_mean_and_shrink_with_repeats() -> None:
    few, many = pair(10, 2.0, 1).studies[1], pair(640, 2.0, 1).studies[1]
    for one in (few, many):
        curve = one.curve
        assert all(
            low <= mean <= high for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True)
        )
        assert one.accuracy.low <= one.accuracy.estimate <= one.accuracy.high
        for reach in one.reach:
            assert reach.ratio.low <= reach.ratio.estimate <= reach.ratio.high
    widths = [np.array(one.curve.high) - np.array(one.curve.low) for one in (few, many)]
    assert widths[1].mean() < widths[0].mean() / 4  # about an eighth
    few_ratio, many_ratio = few.reach[1].ratio, many.reach[1].ratio
    assert many_ratio.high - many_ratio.low < few_ratio.high - few_ratio.low


def test_bands_cover_the_truth_about_as_often_as_they_say() -> None:
    """The mean of the best of 24 uniform trials is known: 0.3 + 0.6 * 24 / 25."""
    truth, covered = 100 * (0.3 + 0.6 * 24 / 25), 0
    for seed in range(30):
        accuracy = compare([study("one")], {"one": searches(40, seed)}, "one").studies[0].accuracy
        covered += accuracy.low <= truth <= accuracy.high
    assert 25 <= covered <= 30


def test_equal_searches_are_on_a_par() -> None:
    reach = pair(400, 1.0, 9).studies[1].reach[1]
    assert reach.ratio.low <= 1 <= reach.ratio.high
    assert 0.8 < reach.ratio.estimate < 1.25


def test_mean_over_cells_begins_when_each_has_a_completed_trial() -> None:
    replays = [[cell([1.0, 2.0], [0.2, 0.4]), cell([1.5, 2.0], [0.6, 0.6], task="sprite_loc")]] * 2
    found = compare([study("one")], {"one": replays}, "one")
    curve = found.studies[0].curve
    assert (curve.compute, curve.mean) == ([1.5, 1.75, 2.0], [40.0, 40.0, 50.0])
    assert found.tasks == ["digits", "sprite_loc"]


def test_what_is_not_reached_is_said_and_null_in_json() -> None:
    poor = [[cell([1.0, 2.0], [0.1, 0.2], pruned=2)]] * 30
    found = compare([study("one"), study("poor")], {"one": searches(30, 0), "poor": poor}, "one")
    reach = found.studies[1].reach[0]
    assert math.isinf(reach.compute.estimate) and math.isinf(reach.ratio.high)
    assert found.studies[1].pruned == 0.5
    rows = as_table(found).rows
    assert [v for k, v in rows[1].items() if k.startswith("compute to reach")] == ["not reached"] * 3
    plain = json.loads(json.dumps(as_plain(found), allow_nan=False))
    assert plain["studies"][1]["reach"][0]["ratio"]["estimate"] is None
    assert plain["confidence"] == 0.95


def test_table_says_what_its_numbers_mean() -> None:
    console = Console(record=True, width=200)
    show(as_table(pair(20, 2.0, 1)), "terminal", console)
    text = console.export_text()
    assert "one: 24 trials, sampler random, pruner none" in text
    assert "95 % bootstrap intervals over the repeats" in text
    assert "24" in text and "one has, in full trials a cell:" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "none"}, "--baseline: expected one of one, other; found 'none'"),
        ({"names": ("one", "one")}, "expected different names; found 'one' twice"),
        ({"repeats": 3}, "study 'other': expected 4 repeats; found 3"),
        ({"task": "sprite_loc"}, r"expected the cells of 'one' \(digits.linear\); found sprite_loc.linear"),
    ],
)
def test_studies_that_do_not_compare_are_refused(change: dict[str, Any], message: str) -> None:
    names = change.get("names", ("one", "other"))
    other = [[cell([1.0], [0.5], task=change.get("task", "digits"))]] * change.get("repeats", 4)
    replays = {"one": searches(4, 0), "other": other}
    with pytest.raises(InputError, match=message):
        compare([study(name) for name in names], replays, change.get("baseline", "one"))


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf", ".html"])
def test_pictures(tmp_path: Path, ending: str) -> None:
    found = pair(20, 2.0, 1)
    paths = [tmp_path / "deep" / f"{name}{ending}" for name in "ab"]
    for path in paths:
        draw(found, path)
    assert paths[0].stat().st_size > 1_000
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if ending == ".svg":
        text = paths[0].read_text()
        assert "other" in text and "full trials" in text


def test_interactive_figure_has_the_curves_numbers() -> None:
    found = pair(20, 2.0, 1)
    lines = [trace for trace in figure(found).data if trace.name]
    assert [trace.name for trace in lines] == ["one", "other"]
    assert list(lines[1].y) == found.studies[1].curve.mean
    assert max(lines[1].x) == 12.0


def test_a_picture_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"-o: expected a file ending in \.png, .*; found 'curve\.gif'"):
        draw(pair(4, 1.0, 1), tmp_path / "curve.gif")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight learning rates, recorded by a grid."""
    folder = tmp_path_factory.mktemp("record")
    asked = study("grid", trials=None, sampler={"type": "grid", "points": 8})
    with Ledger(folder, asked, {"version": "0", "commit": None, "libraries": "{}"}) as ledger:
        for trial in run_all(Planner(asked)):
            ledger.add_intent(trial.intent)
            ledger.add_trial(trial.intent, trial.outcome)
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(simulate_app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def files(folder: Path) -> list[Path]:
    halving = {"type": "successive_halving", "min_resource": 1, "reduction_factor": 2}
    paths = []
    for one in (study("plain"), study("halving", pruner=halving)):
        paths.append(folder / f"{one.name}.yaml")
        paths[-1].write_text(one.to_yaml())
    return paths


def test_the_command_compares_studies_on_a_record(record: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.svg"
    options = ["--from", record, "--repeats", 4, "--processes", 1]
    found = json.loads(run(*files(tmp_path), *options, "--json", "-o", out))
    plain, halving = found["studies"]
    assert (plain["compute"], plain["pruned"]) == (24, 0)
    assert halving["compute"] < 20 and halving["pruned"] > 0.3
    assert found["baseline"] == "plain" and out.stat().st_size > 1_000
    again = json.loads(run(*files(tmp_path), *options, "--format", "json", "--baseline", "halving"))
    assert again["baseline"] == "halving"
    assert again["studies"][0]["curve"]["mean"] == plain["curve"]["mean"]
    text = run(*files(tmp_path), *options, "--set", "search.trials=6", "--format", "csv")
    assert text.splitlines()[1].startswith("plain,6.0,")


def test_the_command_refuses_what_it_cannot_replay(record: Path, tmp_path: Path) -> None:
    path = files(tmp_path)[0]
    with pytest.raises(InputError, match="expected studies of different names; found 'plain' twice"):
        run(path, path, "--from", record)
    with pytest.raises(InputError, match="-o: expected a file ending in"):
        run(path, "--from", record, "-o", "curve.txt")
    with pytest.raises(InputError, match="expected completed trials of task 'sprite_ori'; found those of"):
        run(path, "--from", record, "--task", "sprite_ori", "--processes", 1)
