"""A sample of what may stand at any key of a study, through the command line: in a file or in ``--set``."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.commands import Wst, caller
from tests.data.trees import class_folders
from tests.generated import as_yaml, examples, in_time, names_in, values
from tests.study.studies import study_places

PLACES = study_places(Path("digits"))


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    class_folders(folder / "digits", {"cat": 5, "dog": 5}, size=8)
    for name in ("cwd", "tmp"):
        (folder / name).mkdir()
    return folder


def _check(wst: Wst, monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    """A dry run ends in a table, or in status 2 and one line; nothing is left either way."""
    monkeypatch.chdir(folder / "cwd")
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    monkeypatch.setattr("wst.workflows.costs.expected_costs", lambda *_: [])  # which times training
    with in_time():
        result = wst("tune", folder / "study.yaml", "--dry-run", "--json", *words)
    assert result.status in (0, 2), result
    if result.status:
        assert result.out == "" and result.err.startswith("wst: ") and result.err.count("\n") == 1, result
        assert "\x1b" not in result.err and len(result.err) <= 1_010, result
    else:
        assert json.loads(result.out) == []
    assert not names_in()
    assert not {name for name in names_in(folder / "tmp") if not name.startswith("torchinductor")}
    assert names_in(folder) == {"study.yaml", "digits", "cwd", "tmp"}
    return result.status


@given(data=st.data())
@examples(15)
def test_in_the_file(wst: Wst, monkeypatch: pytest.MonkeyPatch, folder: Path, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(PLACES))
    content = as_yaml(place.around(data.draw(values(place))))
    (folder / "study.yaml").write_text(content, encoding="utf-8", errors="surrogatepass")
    _check(wst, monkeypatch, folder)


@given(data=st.data())
@examples(15)
def test_with_set(wst: Wst, monkeypatch: pytest.MonkeyPatch, folder: Path, data: st.DataObject) -> None:
    whole = next(place for place in PLACES if place.keys == ("seed",))
    (folder / "study.yaml").write_text(as_yaml(whole.around(0)))
    place = data.draw(st.sampled_from([p for p in PLACES if p.keys]))
    key = ".".join(part for part in place.keys if not part.startswith("<") or part == "<key>")
    text = data.draw(
        st.sampled_from(["", "=", "a", "[", "{", "'", "1e999", "!!int x", "*a", "é\0", "\udcff", "9" * 400])
        | values(place).map(repr)
    )
    _check(wst, monkeypatch, folder, "--set", f"{key}={text}")


@pytest.mark.parametrize(
    "name", ["/dev/zero", "FIFO", "HUGE", "/proc/self/mem", "/", "x" * 300, "x" * 5_000, "a\0b", "LOOP", ""]
)
def test_what_is_no_study_file(wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / "LOOP").symlink_to("LOOP")
    with (tmp_path / "HUGE").open("wb") as file:
        file.truncate(10**10)
    monkeypatch.chdir(tmp_path)
    before = names_in()
    for words in (
        ["tune", name, "--dry-run"],
        ["train", "--task", "digits", "--recipe", name],
        ["tune", "demo", "--dry-run", "--set", f"recipe={name}"],
    ):
        with in_time():
            result = wst(*words)
        assert (result.status, result.out) == (2, "") and result.err.count("\n") == 1, result
    assert names_in() == before
