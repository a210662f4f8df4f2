import json

import pytest

from tests.data.trees import small_vtab, write_task
from wst.data.splits import TaskData
from wst.data.vtab1k import adopt as adopting
from wst.data.vtab1k.adopt import adopt
from wst.data.vtab1k.builder import RECORD, Options, build_source
from wst.data.vtab1k.sources import SOURCES
from wst.errors import InputError

SUITE = small_vtab(["svhn", "cifar_100", "dtd"])


@pytest.fixture
def export(tmp_path):
    """An export of JPEGs under another name, one folder called as some exports call it, one task damaged."""
    for task in SUITE.tasks:
        write_task(tmp_path / "theirs", SUITE, task, ".jpg")
    folder = tmp_path / "theirs" / SUITE.folder
    (folder / "cifar").rename(folder / "cifar100")
    (folder / "dtd" / "images/test/000001.jpg").write_bytes(b"")
    return folder.rename(tmp_path / "theirs" / "export")


def test_adopting(export, tmp_path):
    reports = adopt(export, SUITE, SUITE.tasks, tmp_path / "ours", 2)
    usable = {report.task: report.usable for report in reports}
    assert usable == {"cifar_100": True, "svhn": True, "dtd": False}
    assert not (tmp_path / "ours" / SUITE.folder / "dtd").exists()
    for report in reports:
        if report.usable:
            task = SUITE.task(report.task)
            folder = tmp_path / "ours" / SUITE.folder / task.folder
            record = json.loads((folder / RECORD).read_text())
            assert record["encoding"] == "JPEG" and record["settings"]["adopted"] == str(export)
            assert (
                record["data_hash"]
                == report.data_hash
                == TaskData.of(tmp_path / "ours", SUITE, task).hashes().all
            )
    with pytest.raises(InputError, match="expected no data of task 'cifar_100' yet"):
        adopt(export, SUITE, [SUITE.task("cifar_100")], tmp_path / "ours")


def test_adopting_in_place(tmp_path):
    task = SUITE.task("svhn")
    folder = write_task(tmp_path, SUITE, task, ".jpg")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    (report,) = adopt(tmp_path / SUITE.folder, SUITE, [task], tmp_path)
    assert report.usable and (folder / RECORD).is_file()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    with pytest.raises(InputError, match="expected a build with the settings"):  # never built over
        build_source(SOURCES["svhn_cropped"], SUITE, [task], tmp_path, tmp_path / "archives", Options())


def test_no_such_export(tmp_path):
    with pytest.raises(InputError, match="--from-folder: expected a folder"):
        adopt(tmp_path / "nowhere", SUITE, SUITE.tasks, tmp_path)


def test_adopting_that_was_cut_off_goes_on(export, tmp_path, monkeypatch):
    task, linked = SUITE.task("svhn"), []
    original = adopting.link_or_copy

    def link(source, target):
        if len(linked) == 5:
            raise KeyboardInterrupt
        linked.append(target)
        original(source, target)

    monkeypatch.setattr(adopting, "link_or_copy", link)
    with pytest.raises(KeyboardInterrupt):
        adopt(export, SUITE, [task], tmp_path / "ours")
    monkeypatch.setattr(adopting, "link_or_copy", original)
    (report,) = adopt(export, SUITE, [task], tmp_path / "ours")
    ours = TaskData.of(tmp_path / "ours", SUITE, task)
    assert ours.hashes().all == report.data_hash and (ours.folder / RECORD).is_file()
    with pytest.raises(InputError, match="expected no data of task 'svhn' yet"):
        adopt(export, SUITE, [task], tmp_path / "ours")


def test_a_build_json_of_another_kind_is_not_replaced(tmp_path):
    task = SUITE.task("svhn")
    folder = write_task(tmp_path, SUITE, task, ".jpg")
    (folder / RECORD).write_text('{"mine": 1}')
    with pytest.raises(InputError, match=r"build.json: expected no file, or one that this command made"):
        adopt(tmp_path / SUITE.folder, SUITE, [task], tmp_path)
    assert (folder / RECORD).read_text() == '{"mine": 1}'
