"""docs/studies.md against the code: its blocks load, and its tables name what there is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tests.conftest import ROOT, small_study
from tests.curves import curve
from tests.synthetic import run_all
from wst.planning.planner import Planner
from wst.records import Outcome
from wst.study import load_study, search, study
from wst.trackers import Trackers

PAGE = (ROOT / "docs" / "studies.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


WHOLE, *PARTS = _blocks("yaml")


def _load(text: str, folder: Path) -> study.Study:
    path = folder / "mine.yaml"
    path.write_text(text)
    return load_study(str(path))


def test_whole_example_goes_through_every_stage(tmp_path: Path) -> None:
    ended = run_all(Planner(_load(WHOLE, tmp_path)))
    stages = Counter((trial.intent.variant, trial.intent.stage) for trial in ended)
    assert stages == {
        ("linear", "search"): 2 * 12,
        ("linear", "confirm"): 2 * 3 * 2,
        ("linear", "final"): 2 * 2,
        ("wst-r2", "search"): 2 * 12,
        ("wst-r2", "confirm"): 2 * 3 * 2,
        ("wst-r2", "final"): 2 * 2,
        ("wst-r8", "final"): 2 * 2,
    }


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.split(":")[0])
def test_parts_fit_into_the_whole_and_plan(part: str, tmp_path: Path) -> None:
    merged = {**yaml.safe_load(WHOLE), **yaml.safe_load(part)}
    loaded = _load(yaml.safe_dump(merged, sort_keys=False), tmp_path)
    planner = Planner(loaded, count_parameters=lambda variant, settings: 100)
    ended = run_all(planner, stop_after=30)
    assert len(ended) == 30


def test_condition_of_the_example_holds(tmp_path: Path) -> None:
    (part,) = (part for part in PARTS if "when:" in part)
    merged = {**yaml.safe_load(WHOLE), **yaml.safe_load(part), "tasks": ["digits"], "confirm": None}
    merged["search"]["trials"] = 30
    ended = run_all(Planner(_load(yaml.safe_dump(merged, sort_keys=False), tmp_path)))
    settings = [t.intent.hyperparameters for t in ended if t.intent.stage == "search"]
    assert all(("small_patch" in s) == s["small_branch"] for s in settings)
    assert {s["small_branch"] for s in settings} == {True, False}


@pytest.mark.parametrize(
    ("sampler", "options"),
    [("tpe", {}), ("gp", {}), ("random", {}), ("grid", {"points": 3}), ("nsga2", {})],
)
def test_every_sampler_takes_several_objectives(sampler: str, options: dict[str, int]) -> None:
    asked = {
        "trials": 6,
        "sampler": {"type": sampler, **options},
        "objectives": ["val_top1", "train_seconds"],
    }
    planner = Planner(small_study(search=asked))
    run_all(planner)
    assert planner.done


def _rows(first_heading: str) -> dict[str, str]:
    """Rows of the table under a heading, by the name in their first cell."""
    table = PAGE[PAGE.index(f"| {first_heading} |") :].split("\n\n")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:]]
    return {name: "|".join(cells[1:]) for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}


@pytest.mark.parametrize(
    ("heading", "models"),
    [
        ("sampler", [search.TPE, search.GP, search.Random, search.Grid, search.NSGA2]),
        ("pruner", [search.NoPruner, search.SuccessiveHalving, search.Median]),
    ],
)
def test_options_and_defaults_are_those_of_the_models(heading: str, models: list[type[BaseModel]]) -> None:
    rows = _rows(heading)
    assert set(rows) == {model.model_fields["type"].default for model in models}
    for model in models:
        options = rows[model.model_fields["type"].default].split("|")[0]
        shown = dict(re.findall(r"`(\w+)`(?: \(([\w.]+)\))?", options))
        fields = {name: field for name, field in model.model_fields.items() if name != "type"}
        assert set(shown) == set(fields), model
        for name, field in fields.items():
            if shown[name]:
                assert yaml.safe_load(shown[name]) == field.default, (model, name)
            else:
                assert field.is_required() or field.default is None, (model, name)


def test_every_key_of_a_study_is_explained() -> None:
    assert set(_rows("key | default")) == set(study.Study.model_fields)
    for model in (study.Variant, study.Confirm, study.Final, study.Faults, study.Resources, search.Search):
        for name in model.model_fields:
            assert re.search(rf"[`{{ .\n]{name}[`:]", PAGE), (model, name)


def test_tracker_of_the_example_works(tmp_path: Path) -> None:
    (block,) = (block for block in _blocks("python") if "def tracker" in block)
    namespace: dict[str, Any] = {}
    exec(compile(block, "docs/studies.md", "exec"), namespace)
    planner = Planner(small_study())
    intent = planner.ask()
    assert intent is not None
    with Trackers([namespace["tracker"](tmp_path, "mine")]) as trackers:
        trackers.start(intent)
        trackers.epochs(intent, curve(intent, 2))
        trackers.end(intent, Outcome("completed"))
    written = (tmp_path / "ends.txt").read_text()
    assert written.startswith("digits.linear.search.0000 completed {'weight_decay'")


def test_links_lead_somewhere() -> None:
    docs = ROOT / "docs"
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PAGE):
        assert target.startswith("https://") or (docs / target).exists(), target
    headings = re.findall(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
