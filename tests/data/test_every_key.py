"""Whatever stands at any key of a suite's file: a suite that can be checked, or one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.data.trees import class_folders
from tests.generated import Place, as_yaml, check_line, examples, in_time, names_in, places, values
from wst.data import picture_index
from wst.data.check.gate import look
from wst.data.folders import _SuiteFile, own_suite
from wst.data.splits import TaskData, data_root
from wst.errors import InputError

_TASKS = [{"name": "a"}, {"name": "b"}]
_ODD = ["fifo", "file", "loop", "self", "self/self/a", "a/", "./a", "a/../b", "a/cat", "../suite/a"]
_CLASSES: list[Any] = [
    ["cat", name] for name in ("dog", "/", "..", "dog/x", "", "nope", "cat", "dog/", "cat/x")
]


def _least(model: type[BaseModel], key: str) -> dict[str, Any]:
    return {"name": "s", "tasks": _TASKS} if model is _SuiteFile else {"name": "a"}


PLACES = places(_SuiteFile, _least)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "suite"
    for name in ("a", "b", "1"):
        class_folders(folder / name, {"cat": 5, "dog": 5}, size=8)
    (folder / "file").write_text("x")
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "self").symlink_to(".")
    return folder


@pytest.mark.parametrize("place", PLACES, ids=str)
@given(data=st.data())
@examples(8)
def test_it_is_taken_or_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: Place, data: st.DataObject
) -> None:
    monkeypatch.setattr(picture_index, "_MOST_OTHERS", 500)  # "/" and ".." are walked no further
    before = names_in(folder)
    value = data.draw(values(place) | st.sampled_from([*_ODD, *_CLASSES]))
    (folder / "suite.yaml").write_text(as_yaml(place.around(value)), encoding="utf-8", errors="surrogatepass")
    try:
        with in_time():
            suite = own_suite(folder)
            look([TaskData.of(data_root(suite, None), suite, task) for task in suite.tasks])
    except InputError as error:
        check_line(error)
    assert names_in(folder) == before | {"suite.yaml"}


def test_every_key_is_a_place(folder: Path) -> None:
    found = {p.keys[-1] for p in PLACES if p.keys}
    assert found >= {"name", "caveat", "tasks", "folder", "group", "about", "classes", "val", "test"}
    (folder / "suite.yaml").write_text(as_yaml({"name": "s", "tasks": _TASKS}))
    assert [task.name for task in own_suite(folder).tasks] == ["a", "b"]


@pytest.mark.parametrize("name", ["/dev/null", "/proc/self/fd", "loop", "x" * 300])
def test_a_path_that_is_no_folder_is_one_line(folder: Path, name: str) -> None:
    with in_time(), pytest.raises(InputError) as refused:
        own_suite(folder / name)
    check_line(refused.value)


def test_a_whole_disk_is_not_walked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_index, "_MOST_OTHERS", 50)
    disk = folder.parent / "disk"
    for number in range(4):
        (disk / "usr" / str(number)).mkdir(parents=True)
        for file in range(20):
            (disk / "usr" / str(number) / f"{file}.so").write_text("x")
    with pytest.raises(
        InputError, match=r"expected a folder of pictures; found \d+ other files and folders bef"
    ):
        picture_index.picture_index(disk)
    many = folder.parent / "many"
    class_folders(many, {"cat": 12, "dog": 1}, size=8)
    for number in range(100):  # fewer than ten a picture
        (many / "cat" / f"{number}.xml").write_text("x")
    assert len(picture_index.picture_index(many).others) == 100


def test_twenty_thousand_classes_are_compared_in_no_time(folder: Path) -> None:
    names = [f"c{number}" for number in range(20_000)]
    task = {"name": "a", "classes": ["cat", *names]}
    (folder / "suite.yaml").write_text(as_yaml({"name": "s", "tasks": [task]}))
    with in_time(30), pytest.raises(InputError, match="expected pictures of class 'c0'; found none"):
        own_suite(folder)
