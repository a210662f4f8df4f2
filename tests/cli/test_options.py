"""Bad values at every option and argument of every verb: status 2, one line, nothing left behind."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

import pytest

from tests.cli.commands import Parameter, Wst, caller, parameters
from tests.conftest import small_study
from tests.generated import in_time

GOOD: dict[str, list[str]] = {
    "tune": ["STUDY", "--dry-run"],
    "demo": [],
    "bench": ["STUDY"],
    "status": ["ALPHA"],
    "best": ["ALPHA"],
    "train": ["--task", "digits", "--set", "lr=1e-3", "--method", "linear", "--epochs", "1"],
    "predict": ["NONE", "NONE"],
    "merge": ["NONE"],
    "data check": ["mini"],
    "data build": ["mini"],
    "data info": ["mini"],
    "data cache": [],
    "leaderboard": ["ALPHA"],
    "pareto": ["ALPHA"],
    "ablation": ["ALPHA"],
    "importance": ["ALPHA"],
    "report": ["ALPHA"],
    "repair": ["ALPHA"],
    "simulate": ["STUDY", "--from", "ALPHA"],
    "export parquet": ["ALPHA", "new"],
    "export optuna": ["ALPHA"],
    "export peft": ["NONE", "new"],
    "ls": ["tasks"],
}
"""Words with which each verb would run, or would but for what is given besides."""
ELSEWHERE = {
    ("tune", "--address"): "starts Ray",
    ("tune", "--track"): "is looked at once the data are",
    ("tune", "--out"): "may be any new folder",
    ("train", "--out"): "may be any new folder",
    ("demo", "--out"): "may be any new folder",
    ("data build", "--root"): "may be any new folder",
    ("data build", "--archives"): "is not needed for mini",
    ("data build", "--manifest"): "is not needed for mini",
    ("data build", "--from-folder"): "is not needed for mini",
    ("data check", "--root"): "may be any folder",
    ("data info", "--root"): "may be any folder",
    ("leaderboard", "--columns"): "is looked at once the table is there",
    ("pareto", "--columns"): "is looked at once the table is there",
    ("ablation", "--columns"): "is looked at once the table is there",
    ("leaderboard", "--caption"): "may be any text",
    ("pareto", "--caption"): "may be any text",
    ("ablation", "--caption"): "may be any text",
    ("importance", "--caption"): "may be any text",
    ("status", "--caption"): "may be any text",
    ("best", "--caption"): "may be any text",
    ("export parquet", "url"): "may be any new folder",
    ("export peft", "folder"): "is looked at once the adapter is",
    ("export peft", "--checkpoint"): "is looked at once the adapter is",
    ("predict", "--method"): "is looked at once the adapter is",
    ("predict", "--checkpoint"): "is looked at once the adapter is",
    ("predict", "images"): "is looked at once the adapter is",
    ("merge", "--method"): "is looked at once the adapter is",
    ("merge", "--checkpoint"): "is looked at once the adapter is",
}
"""What takes other values than these, or no value that can be told for bad so early."""
NUMBERS = ["-1", "1.5", "x", "", "nan", "inf", "9" * 20, "9" * 400]
TEXTS = ["", "nope", "no\x1b[31m\npe", "[/x]", "x" * 5000, "\udcff", "-1", "\u202e"]
PLACES = ["", "/", "\udcff", "FILE", "FIFO", "EMPTY", "/dev/null", "/dev/null/x", "x" * 300 + "/x"]
HOSTILE = [
    "/",
    "FILE",
    "FILE/x",
    "FIFO",
    "FULL",
    "LOOP",
    "DANGLING",
    "/dev/null/x",
    "/proc/x",
    "/proc/self/x",
]
HOSTILE += ["x" * 300, "y/" * 3000, "new/" + "z" * 300, "a\x1b[31m\nb/" + "z" * 300]
"""Places in which no verb can make a folder or a file of its own."""
MAKERS = [
    ["tune", "STUDY", "--inline", "--out"],
    ["train", "--task", "digits", "--method", "linear", "--set", "lr=0.1", "--epochs", "1", "--out"],
    ["export", "parquet", "ALPHA"],
    ["export", "optuna", "ALPHA", "--output"],
    ["best", "ALPHA", "--output"],
]
_ALL = [p for p in parameters() if p.kind is not bool]


def _values(parameter: Parameter) -> list[str]:
    early = ["", "\udcff"] if parameter.kind is Path else [""]
    if (parameter.verb, parameter.name) in ELSEWHERE:
        return early if parameter.name not in ("--address", "--track", "url", "images") else []
    if not isinstance(parameter.kind, type) or issubclass(parameter.kind, Enum):  # or a literal's value
        return ["nope", ""]
    if parameter.kind is int:
        return NUMBERS
    return PLACES if parameter.kind is Path else TEXTS


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


@pytest.fixture
def places(tmp_path: Path, alpha: Path) -> dict[str, str]:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.html").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    linear = {"linear": {"method": "linear", "space": {"lr": {"type": "float", "low": 1e-3, "high": 0.1}}}}
    (tmp_path / "study.yaml").write_text(small_study(variants=linear).to_yaml())
    names = {"FILE": "file.html", "FIFO": "fifo", "EMPTY": "empty", "STUDY": "study.yaml", "NONE": "none"}
    return {name: str(tmp_path / path) for name, path in names.items()} | {"ALPHA": str(alpha)}


def test_each_verb_is_looked_at() -> None:
    assert {p.verb for p in parameters()} == set(GOOD)
    assert set(ELSEWHERE) <= {(p.verb, p.name) for p in _ALL}


@pytest.mark.slow
@pytest.mark.parametrize("parameter", _ALL, ids=lambda p: f"{p.verb} {p.name}")
def test_a_bad_value_gets_one_line(
    wst: Wst,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    places: dict[str, str],
    parameter: Parameter,
) -> None:
    monkeypatch.chdir(tmp_path / "cwd")
    arguments = [p.name for p in _ALL if p.verb == parameter.verb and p.argument]
    for given in _values(parameter):
        value = places.get(given, given)
        words = list(GOOD[parameter.verb])
        if parameter.argument:
            words[arguments.index(parameter.name)] = value
            words = words if value[:1] != "-" else [*words[1:], "--", value]
        else:
            words += [parameter.name, value] if parameter.name[1] != "-" else [f"{parameter.name}={value}"]
        if parameter.name == "--trial":
            words += ["--from", "ALPHA"]
        result = wst(*parameter.verb.split(), *(places.get(word, word) for word in words))
        assert (result.status, result.out) == (2, ""), (value, result)
        assert result.err.startswith("wst: ") and result.err.count("\n") == 1, (value, result)
        assert "\x1b" not in result.err and "\u202e" not in result.err, (value, result)
        assert list(Path().iterdir()) == [], value
        assert (tmp_path / "file.html").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("words", MAKERS, ids=lambda words: " ".join(words[:2]))
def test_a_hostile_place_gets_one_line_and_nothing_is_left(
    wst: Wst,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mini_root: Path,
    places: dict[str, str],
    words: list[str],
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "x")
    places |= {"FULL": str(tmp_path / "full"), "LOOP": str(tmp_path / "loop")}
    places |= {"DANGLING": str(tmp_path / "dangling"), "FILE/x": str(tmp_path / "file.html" / "x")}
    monkeypatch.chdir(tmp_path / "cwd")
    before = {str(path): path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    for place in HOSTILE:
        with in_time():
            result = wst(*(places.get(word, word) for word in [*words, place]))
        assert result.status == 2 and result.err.startswith("wst: "), (place, result)
        assert result.err.count("\n") == 1 and "\x1b" not in result.err, (place, result)
        found = {str(path): path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert found.keys() == before.keys(), place
    assert (tmp_path / "file.html").read_text() == "mine"
