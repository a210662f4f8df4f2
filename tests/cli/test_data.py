import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from tests.data.trees import class_folders, small_vtab, write_task
from wst.cli.data import data_app as app
from wst.data import mini, suites
from wst.errors import InputError


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))

    def invoke(*arguments, status=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return invoke


@pytest.fixture
def vtab(monkeypatch, tmp_path):
    small = small_vtab(["svhn", "dtd"])
    monkeypatch.setattr(suites, "suites", lambda: {"vtab1k": small})
    for task in small.tasks:
        write_task(tmp_path / "data", small, task)
    return tmp_path / "data" / small.folder


def test_check_passes(run, vtab):
    result = run("check", "--root", "data")
    assert "svhn" in result.stdout and "lossless" in result.stdout and "yes" in result.stdout
    found = json.loads(run("check", "--root", "data", "--json").stdout)
    assert [(row["task"], row["usable"], row["findings"]) for row in found] == [
        ("dtd", True, []),
        ("svhn", True, []),
    ]


def test_check_of_an_unusable_task(run, vtab):
    (vtab / "dtd/images/test/000002.bmp").write_bytes(b"")
    result = run("check", "--root", "data", status=1)
    assert "dtd: error: test: expected a readable image; found 1 unreadable" in result.stdout
    assert "images/test/000002.bmp (0 bytes)" in result.stdout and "not usable: dtd" in result.stderr
    found = json.loads(run("check", "--root", "data", "--json", status=1).stdout)
    assert [row["usable"] for row in found] == [False, True]
    assert [finding["kind"] for finding in found[0]["findings"]] == ["unreadable"]
    run("check", "--root", "data", "--task", "svhn")


def test_own_folder(run, tmp_path):
    class_folders(tmp_path / "pets", {"cat": 12, "dog": 10})
    (row,) = json.loads(run("check", "pets", "--json").stdout)
    assert row["usable"] and row["sizes"]["test"] == 4
    result = run("info", "pets", "--sheet", "sheet.html")
    assert "pets" in result.stdout and (tmp_path / "sheet.html").is_file()
    (row,) = json.loads(run("info", "pets", "--json").stdout)
    assert (row["classes"], row["state"]) == (2, "ready")


def test_explain(run):
    text = run("build", "vtab1k", "--explain").stdout
    for name in (
        "cifar-100-binary.tar.gz",
        "NWPU-RESISC45/",
        "--manifest",
        "--from-folder",
        "data/archives/clevr",
    ):
        assert name in text
    rows = json.loads(run("build", "vtab1k", "--explain", "--task", "clevr_dist", "--json").stdout)
    assert [row["tasks"] for row in rows] == [["clevr_dist"]] and rows[0]["files"][0]["size"] == 19021600724


def test_build_without_archives(run):
    result = run("build", "vtab1k", "--task", "svhn", "--json", status=1)
    (row,) = json.loads(result.stdout)
    assert (
        row["state"] == "failed" and "expected train_32x32.mat in data/archives/svhn_cropped" in row["reason"]
    )


def test_build_adopts_a_folder(run, vtab, tmp_path):
    result = run("build", "vtab1k", "--from-folder", vtab, "--root", "ours")
    assert "svhn" in result.stdout and (tmp_path / "ours/vtab-1k/svhn/build.json").is_file()
    run("check", "--root", "ours")


def test_build_of_another_suite(run):
    with pytest.raises(InputError, match="suite: expected one of mini, vtab1k; found 'imagenet'"):
        run("build", "imagenet")


def test_cache(run, tmp_path):
    from wst.data.splits import TaskData, data_root

    of = suites.find_suite(str(class_folders(tmp_path / "pets", {"cat": 12, "dog": 10})))
    TaskData.of(data_root(of, None), of, of.tasks[0]).open("train", 32, "search")
    found = json.loads(run("cache", "--json").stdout)
    assert [entry["images"] for entry in found["entries"]] == [14] and found["size"] > 14 * 3 * 32 * 32
    shown = "".join(run("cache", "--show").stdout.split())
    assert "14" in shown and "of64GB" in shown
    assert json.loads(run("cache", "--clear", "--json").stdout)["freed"] == found["size"]
    assert json.loads(run("cache", "--json").stdout)["entries"] == []


def test_building_mini_replaces_nothing_of_the_users(run, monkeypatch, tmp_path):
    (task,) = (task for task in mini.MINI.tasks if task.name == "sprite_loc")
    small = replace(mini.MINI, tasks=(replace(task, train=4, val=2, test=2),))
    monkeypatch.setattr(mini, "MINI", small)
    monkeypatch.setattr(suites, "suites", lambda: {"mini": small})
    class_folders(tmp_path / "X" / "mini", {"cat": 2})
    with pytest.raises(InputError, match=r"X/mini: expected nothing but what this command makes; found cat"):
        run("build", "mini", "--root", "X")
    assert len(list((tmp_path / "X/mini/cat").iterdir())) == 2
    assert "built" in run("build", "mini", "--root", "X", "--force").stdout
    assert not (tmp_path / "X/mini/cat").exists()
