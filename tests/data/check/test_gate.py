"""What a start finds out of its data, what it remembers, and what makes it look again."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.data.trees import class_folders, small_vtab, write_task
from wst.data import hashes
from wst.data.check import gate, known
from wst.data.check.check import check_task
from wst.data.check.gate import look
from wst.data.check.report import refuse
from wst.data.lists import SPLITS, VTAB_NAMES
from wst.data.memo import cache_folder
from wst.data.splits import TaskData
from wst.data.suites import find_suite
from wst.errors import InputError

SUITE = small_vtab(["svhn"])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def decoded(monkeypatch):
    """One entry for each content that is decoded."""
    seen = []
    original = known.examine

    def examine(content, reading):
        seen.append(content)
        return original(content, reading)

    monkeypatch.setattr(known, "examine", examine)
    return seen


@pytest.fixture
def vtab(tmp_path) -> TaskData:
    return TaskData(write_task(tmp_path, SUITE, SUITE.tasks[0]), SUITE.tasks[0])


def lists(folder: Path, count: int = 8) -> TaskData:
    """A task of list files: as many pictures of two classes in each split, in one folder."""
    class_folders(folder, dict.fromkeys(("train", "val", "test"), count))
    for split in ("train", "val", "test"):
        lines = (f"{split}/p{i:03d}.png {i % 2}\n" for i in range(count))
        (folder / f"{split}.txt").write_text("".join(lines))
    return opened(folder)


def opened(folder: Path) -> TaskData:
    suite = find_suite(str(folder))
    assert suite.location is not None
    return TaskData.of(suite.location, suite, suite.tasks[0])


def kinds(report):
    return [(f.level, f.kind, f.split) for f in report.findings]


def refusal(data: TaskData) -> str:
    with pytest.raises(InputError) as error:
        refuse(look([data]), "wst data check X")
    return str(error.value)


def test_a_second_start_reads_no_image(vtab, decoded, monkeypatch):
    (first,) = look([vtab])
    assert first.usable and first.whole and len(decoded) == 24 + 8 + 12
    assert first.hashes == vtab.hashes() and first == check_task(vtab)
    decoded.clear()
    for module in (known, hashes):
        monkeypatch.setattr(module, "content_of", lambda path: pytest.fail(f"{path} is read"))
    totals = []
    assert look([vtab], on_total=totals.append) == [first] and not totals and not decoded


def test_a_moved_folder_is_read_and_not_decoded(vtab, decoded, tmp_path):
    (first,) = look([vtab])
    decoded.clear()
    moved = shutil.move(vtab.folder, tmp_path / "elsewhere")
    (second,) = look([TaskData(Path(moved), vtab.task)])
    assert not decoded and second.hashes == first.hashes and second.pixels == first.pixels


def test_one_changed_picture_is_decoded_alone(vtab, decoded):
    (first,) = look([vtab])
    decoded.clear()
    Image.new("RGB", (4, 4), "red").save(vtab.folder / "images/val200/000003.bmp")
    (second,) = look([vtab])
    assert len(decoded) == 1 and second.content["train"] == first.content["train"]
    assert second.content["val"] != first.content["val"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"0" * 64 + b"\n{}\n"])
def test_a_damaged_memory_is_made_again(vtab, content):
    """Of the report, of the hashes and of the images alike."""
    (first,) = look([vtab])
    memos = [path for path in cache_folder().rglob("*") if path.is_file()]
    assert {path.parent.name for path in memos} == {"checks", "hashes", "images"}
    for path in memos:
        path.write_bytes(content)
    assert look([vtab]) == [first]
    assert look([vtab]) == [first]


def test_a_changed_row_of_the_memory_of_images_is_not_believed(vtab, decoded):
    (first,) = look([vtab])
    shutil.rmtree(cache_folder() / "checks")
    (file,) = (cache_folder() / "images").glob("*.sqlite")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE images SET found = replace(found, 'BMP', 'GIF')")
    database.close()
    decoded.clear()
    assert look([vtab]) == [first] and len(decoded) == 24 + 8 + 12


def test_the_memory_cannot_be_written(vtab, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "file"))
    assert look([vtab])[0].usable and look([vtab])[0].usable


@pytest.mark.parametrize("split", SPLITS)
def test_a_list_that_is_another_one_is_refused_with_the_line_of_the_check(vtab, split):
    """Such as val200.txt, a link to test.txt: the search would score the test images."""
    file = vtab.folder / f"{VTAB_NAMES[split]}.txt"
    other = vtab.folder / f"{VTAB_NAMES['test' if split != 'test' else 'train']}.txt"
    file.unlink()
    file.symlink_to(other)
    line = next(f for f in check_task(vtab).findings if f.level == "error")
    assert refusal(vtab).startswith(f"svhn: {line} (") and "expected" in str(line)


def test_too_few_images_are_refused_before_any_is_read(vtab, decoded):
    for split in SPLITS:
        file = vtab.folder / f"{VTAB_NAMES[split]}.txt"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    text = "svhn: error: train: expected 24 images; found 3 (3 more: wst data check X)"
    assert refusal(vtab) == text and not decoded


@pytest.mark.parametrize(
    ("split", "like", "text"),
    [
        (
            "trainval",
            None,
            "trainval: expected the images and labels of train and val together; found 8 others",
        ),
        ("val", "test", "test: expected no image of train or val; found 8 of 8 (100.0 %)"),
        ("val", "train", "val: expected no image of train; found 8 of 8 (100.0 %)"),
        ("test", "train", "test: expected no image of train or val; found 8 of 8 (100.0 %)"),
    ],
)
def test_leaks_between_the_lists_of_own_data_are_refused(tmp_path, split, like, text):
    folder = lists(tmp_path / "own").folder
    every = "".join((folder / f"{name}.txt").read_text() for name in ("train", "val", "test"))
    (folder / f"{split}.txt").write_text((folder / f"{like}.txt").read_text() if like else every)
    if like:
        shutil.rmtree(folder / split)  # pictures there that no list names would be refused for that
    assert f"own: error: {text}" in refusal(opened(folder))


@pytest.mark.parametrize(("count", "level"), [(100, "error"), (101, "warning")])
def test_overlap_is_refused_from_one_per_cent_on(tmp_path, count, level):
    """Compared by pixels: here a BMP is a copy of a PNG."""
    folder = lists(tmp_path / "own", count).folder
    with Image.open(folder / "train/p007.png") as image:
        image.save(folder / "test/p003.png", "BMP")
    (report,) = look([opened(folder)])
    assert kinds(report) == [(level, "overlap", "test")] and report.usable == (level == "warning")
    assert report.test_overlap == 1 / count and report.val_overlap == 0
    assert f"found 1 of {count} ({100 / count:.1f} %): test/p003.png (the first is train/p007.png)" in str(
        report.findings[0]
    )
    accepted = report.accepting(["overlap"])
    assert accepted.usable and accepted.hashes == report.hashes
    assert accepted.warnings(["test"]) == (report.findings[0].words,) and not accepted.warnings(["val"])


def test_overlap_of_vtab_is_a_warning_with_its_number(vtab):
    shutil.copy(vtab.folder / "images/train800/000001.bmp", vtab.folder / "images/val200/000002.bmp")
    (report,) = look([vtab])
    assert report.usable and report.val_overlap == 1 / 8 and report.test_overlap == 0
    assert ("warning", "overlap", "val") in kinds(report)


@pytest.mark.parametrize(("count", "level"), [(20, "error"), (21, "warning")])
@pytest.mark.parametrize("split", ["train", "val"])
def test_vtab_whose_test_holds_a_twentieth_of_another_split_is_refused(
    tmp_path, monkeypatch, count, level, split
):
    """Of the smaller split: the shares of the larger one say little."""
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    (task,) = small_vtab(["svhn"]).tasks
    suite = small_vtab(["svhn"])
    task = replace(
        task, train=count if split == "train" else 30, val=count if split == "val" else 30, test=60
    )
    folder = write_task(tmp_path, suite, task)
    source = folder / f"images/{'train800' if split == 'train' else 'val200'}/000001.bmp"
    shutil.copy(source, folder / "images/test/000002.bmp")
    (report,) = look([TaskData(folder, task)])
    assert (level, "overlap", "test") in kinds(report) and report.usable == (level == "warning")
    assert report.test_overlap == 1 / 60
    assert "(1.7 %): images/test/000002.bmp" in report.findings[0].text
    assert f"; {100 / count:.1f} % of {split} are among them" in report.findings[0].text
    assert report.accepting(["overlap"]).usable


def test_vtab_that_validates_on_test_images_is_refused(vtab):
    lines = (vtab.folder / "test.txt").read_text().splitlines(True)[:8]
    train = (vtab.folder / "train800.txt").read_text()
    (vtab.folder / "val200.txt").write_text("".join(lines))
    (vtab.folder / "train800val200.txt").write_text(train + "".join(lines))
    (report,) = look([vtab])
    assert kinds(report) == [("error", "overlap", "test")]
    assert "found 8 of 12 (66.7 %)" in report.findings[0].text
    assert "; 100.0 % of val are among them; a study takes it" in report.findings[0].text


def test_own_data_whose_val_is_a_small_part_of_test_is_refused(tmp_path):
    """One picture of eight, and of the hundreds of test less than a hundredth."""
    for name, count in (("train", 8), ("val", 4), ("test", 110)):
        class_folders(tmp_path / "own" / name, {"cat": count, "dog": count + 1}, size=8)
    shutil.copy(tmp_path / "own/val/cat/p000.png", tmp_path / "own/test/cat/p000.png")
    (report,) = look([opened(tmp_path / "own")])
    assert kinds(report) == [("error", "overlap", "test")] and report.test_overlap == 1 / 221
    assert "; 11.1 % of val are among them" in report.findings[0].text


@pytest.mark.parametrize(
    "name", ["images/../images/test/000003.bmp", "linked/000003.bmp", "link.bmp", "hard.bmp"]
)
def test_a_picture_that_goes_by_two_names_is_repeated(vtab, name):
    folder = vtab.folder
    (folder / "linked").symlink_to("images/test")
    (folder / "link.bmp").symlink_to("images/test/000003.bmp")
    (folder / "hard.bmp").hardlink_to(folder / "images/test/000003.bmp")
    file = folder / "test.txt"
    lines = file.read_text().splitlines(True)
    file.write_text("".join([*lines[:-1], f"{name} 3\n"]))
    (report,) = look([vtab])
    assert kinds(report) == [("warning", "repeated", "test")]
    assert report.findings[0].text == "expected each image once; found 1 again: images/test/000003.bmp"


def test_one_picture_with_two_labels_and_a_line_twice(tmp_path):
    folder = lists(tmp_path / "own").folder
    shutil.copy(folder / "train/p000.png", folder / "train/p001.png")
    file = folder / "test.txt"
    file.write_text(file.read_text() + "test/p000.png 0\n")
    (report,) = look([opened(folder)])
    assert report.usable
    assert kinds(report) == [("warning", "repeated", "test"), ("warning", "contradiction", "train")]
    assert report.findings[0].text == "expected each image once; found 1 again: test/p000.png"
    assert report.findings[1].text.endswith("found another one for 1: train/p001.png")


def test_a_class_that_own_test_images_lack_is_said(tmp_path):
    folder = lists(tmp_path / "own").folder
    file = folder / "test.txt"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if line.endswith(" 0\n")))
    assert kinds(look([opened(folder)])[0]) == [("warning", "coverage", "test")]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_refused(tmp_path, split):
    data = lists(tmp_path / "own")
    (data.folder / f"{split}.txt").write_text("\n")
    assert "expected at least one line 'path label'; found none" in refusal(data)


def test_a_picture_that_may_not_be_read_is_a_finding(vtab):
    path = vtab.folder / "images/val200/000003.bmp"
    path.unlink()
    path.mkdir()
    (report,) = look([vtab])
    assert ("error", "missing", "val") in kinds(report)


def _cut(path: Path) -> bytes:
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    return whole


def test_a_large_test_split_waits_and_small_ones_do_not(tmp_path, monkeypatch):
    suite = small_vtab(["svhn", "dtd"])
    data = [TaskData(write_task(tmp_path, suite, task), task) for task in suite.tasks]
    monkeypatch.setattr(gate, "TESTS_AT_ONCE", 12)  # as many as each of the two has
    first, second = look(data)
    assert first.whole and not second.whole
    assert second.usable and second.test_overlap is None and second.val_overlap == 0
    assert second.hashes == data[1].hashes()
    (whole,) = look(data[1:], whole=True)
    assert whole.whole and whole.test_overlap == 0 and whole.hashes == second.hashes
    assert look(data) == [first, whole]


def test_a_cut_off_picture_in_a_test_split_that_waits_is_found_by_the_whole_look(vtab, decoded, monkeypatch):
    monkeypatch.setattr(gate, "TESTS_AT_ONCE", 0)
    _cut(vtab.folder / "images/test/000003.bmp")
    (report,) = look([vtab])
    assert report.usable and not report.whole and len(decoded) == 24 + 8
    (report,) = look([vtab], whole=True)
    assert kinds(report) == [("error", "unreadable", "test")] and len(decoded) == 24 + 8 + 12
    shutil.copy(vtab.folder / "images/train800/000001.bmp", vtab.folder / "images/test/000003.bmp")
    (report,) = look([vtab])  # what is in each of the others is remembered: so the copy is, and all is known
    assert report.whole and report.test_overlap == 1 / 12


def test_a_look_that_was_cut_off_goes_on(vtab, decoded, monkeypatch):
    monkeypatch.setattr(known, "_CHUNK", 4)

    def stop(count):
        if len(decoded) >= 20:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        look([vtab], jobs=1, on_done=stop)
    look([vtab], jobs=1)
    assert len(decoded) < 24 + 8 + 12 + 20
