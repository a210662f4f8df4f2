"""``wst ls``: each kind as lines and as JSON."""

from __future__ import annotations

import json

import pytest

from tests.cli.commands import Wst, caller
from wst.methods import registry
from wst.shipped import shipped_names


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("suites", ["mini", "vtab1k"]),
        ("spaces", shipped_names("search_spaces")),
        ("settings", shipped_names("settings")),
        ("recipes", ["default", "released"]),
        ("studies", shipped_names("studies")),
    ],
)
def test_names_are_the_same_in_lines_and_in_json(wst: Wst, kind: str, names: list[str]) -> None:
    assert wst("ls", kind).out.split("\n") == [*names, ""]
    assert json.loads(wst("ls", kind, "--json").out) == names


def test_trackers_come_with_whether_their_library_is_there(wst: Wst, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wst.trackers.is_installed", lambda name: name != "wandb")
    lines = ["mlflow", "tensorboard", "wandb (not installed: pip install 'wst[wandb]')"]
    assert wst("ls", "trackers").out.split("\n") == [*lines, ""]
    found = json.loads(wst("ls", "trackers", "--json").out)
    assert found[1:] == [{"name": "tensorboard", "installed": True}, {"name": "wandb", "installed": False}]


def test_tasks_stand_under_their_suite(wst: Wst) -> None:
    assert "vtab1k/caltech101" in wst("ls", "tasks").out.split()
    assert "mini/digits" in json.loads(wst("ls", "tasks", "--json").out)


def test_methods_are_described(wst: Wst) -> None:
    found = json.loads(wst("ls", "methods", "--json").out)
    assert [one["name"] for one in found] == registry.names() == wst("ls", "methods").out.split()


def test_samplers_and_pruners_come_with_their_options(wst: Wst) -> None:
    assert wst("ls", "samplers").out.split() == ["tpe", "gp", "random", "grid", "nsga2"]
    assert wst("ls", "pruners").out.split() == ["successive_halving", "median", "none"]
    samplers = {one["name"]: one for one in json.loads(wst("ls", "samplers", "--json").out)}
    assert samplers["tpe"]["about"].startswith("Tree-structured Parzen estimator")
    assert samplers["tpe"]["options"]["n_ei_candidates"] == {"default": 24, "required": False}
    assert samplers["random"]["options"] == {}
    pruners = {one["name"]: one["options"] for one in json.loads(wst("ls", "pruners", "--json").out)}
    assert pruners["successive_halving"]["min_resource"] == {"default": None, "required": True}


def test_backbones_are_listed_by_family(wst: Wst) -> None:
    backbones = wst("ls", "backbones", "--json")
    assert backbones.err.count("\n") == 1 and "checkpoint=FILE" in backbones.err
    found = {one["family"]: one["models"] for one in json.loads(backbones.out)}
    assert found["embedded"] == ["micro"]
    assert "vit_base_patch16_224" in found["VisionTransformer (vision_transformer)"]
    assert "vit_base_patch16_dinov3" in found["Eva (eva)"]
    lines = wst("ls", "backbones").out.splitlines()
    assert len(lines) == len(found) and lines[0] == "embedded: micro"


def test_an_unknown_kind_gets_the_one_that_was_meant(wst: Wst) -> None:
    result = wst("ls", "taks")
    assert result.status == 2 and result.err.startswith("wst: ls: expected one of tasks, suites, ")
    assert result.err.endswith("; found 'taks' (did you mean 'tasks'?)\n")
