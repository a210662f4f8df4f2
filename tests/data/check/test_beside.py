"""Large test splits beside a running study."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

from tests.data.trees import small_vtab, write_task
from wst.data.check import gate, known, overlap
from wst.data.check.beside import Beside
from wst.data.check.gate import look
from wst.data.splits import TaskData

SUITE = small_vtab(["svhn", "dtd"])


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gate, "TESTS_AT_ONCE", 0)
    return {task.name: TaskData(write_task(tmp_path, SUITE, task), task) for task in SUITE.tasks}


def beside(data, **options):
    reports = {report.task: report for report in look(list(data.values()))}
    return Beside(data, reports, shown_by=lambda task: f"check {task}", **options)


def cut(data):
    path = data.folder / "images/test/000003.bmp"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    return path, whole


def test_every_split_is_looked_at_once_ever(data, monkeypatch):
    watch = beside(data)
    assert not any(map(watch.seen, data)) and watch.reports["svhn"].test_overlap is None
    with watch:
        assert all(watch.wait(task) for task in data)
    assert watch.reports["svhn"].test_overlap == 0
    monkeypatch.setattr(known, "examine", lambda content, reading: pytest.fail("decoded again"))
    assert all(map(beside(data).seen, data))


def test_who_waits_comes_first(data, monkeypatch):
    order = []
    original = Beside._look_at

    def noted(self, task):
        order.append(task)
        original(self, task)

    monkeypatch.setattr(Beside, "_look_at", noted)
    watch = beside(data)
    assert list(data) == ["dtd", "svhn"]
    assert watch.wait("svhn") and watch.wait("dtd") and order == ["svhn", "dtd"]


def test_a_problem_is_told_at_once_with_the_line_of_the_check(data):
    path, whole = cut(data["dtd"])
    watch, told = beside(data), []
    watch.on_problem(told.append)
    with watch:
        assert not watch.wait("dtd")
    (line,) = told
    assert line.startswith(
        "dtd: error: test: expected a readable image; found 1 unreadable: images/test/000003"
    )
    assert line.endswith("(check dtd)")
    late = []
    watch.on_problem(late.append)
    assert late == told
    path.write_bytes(whole)
    with beside(data) as again:
        assert again.wait("dtd")


def test_what_changes_meanwhile_is_a_problem(data):
    watch, told = beside(data), []
    watch.on_problem(told.append)
    (data["dtd"].folder / "images/test/000003.bmp").write_bytes(
        (data["dtd"].folder / "images/test/000004.bmp").read_bytes()
    )
    with watch:
        assert not watch.wait("dtd")
    assert told == ["data of task 'dtd': expected them to stay as they were; found them changed"]


def test_warnings_on_test_images_are_told_as_they_are_found(data, monkeypatch):
    monkeypatch.setattr(overlap, "VTAB_REFUSED_FROM", 0.1)  # of twelve images, one is more than a twentieth
    folder = data["svhn"].folder / "images"
    with Image.open(folder / "train800/000003.bmp") as image:
        image.save(folder / "test/000005.bmp", "PNG")  # other bytes: shows when it is decoded
    told = []
    watch = beside(data, told=told.append)
    assert not watch.reports["svhn"].warnings(["test"])
    with watch:
        assert all(map(watch.wait, data))
    assert watch.reports["svhn"].test_overlap == 1 / 12
    (line,) = told
    assert line.startswith("svhn: warning: test: expected no image of train or val; found 1 of 12 (8.3 %)")


def test_waiting_can_be_broken_off_and_the_end_waits_for_nobody(data, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    original = known.examine

    def slow(content, reading):
        begun.set()
        go.wait(60)
        return original(content, reading)

    watch = beside(data)
    monkeypatch.setattr(known, "examine", slow)

    def interrupted():
        if begun.is_set():
            go.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watch:
        watch.wait("dtd", interrupted)
    assert watch._thread is not None and not watch._thread.is_alive()


def test_a_study_without_a_final_stage_looks_at_no_test_split(data, monkeypatch):
    watch = beside(data, wanted=False)
    monkeypatch.setattr(known, "examine", lambda content, reading: pytest.fail("decoded"))
    with watch:
        assert watch._thread is None
