"""List files of a user's own, as editors and other people's tools write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.data.trees import class_folders
from wst.data.check.check import check_task
from wst.data.class_folders import left_out
from wst.data.splits import TaskData, data_root
from wst.data.suites import find_suite
from wst.errors import InputError


def lists(
    folder: Path,
    line: str = "{path} {label}",
    encoding: str = "utf-8",
    newline: str = "\n",
    labels: tuple[int, ...] = (0, 1),
    names: tuple[str, ...] = ("train", "val", "test"),
) -> Path:
    """Three list files of eight pictures each, ``images/train/cat 0.png`` and so on."""
    for name in names:
        (folder / "images" / name).mkdir(parents=True)
        lines = []
        for label in labels:
            for index in range(4):
                path = f"images/{name}/{label} {index}.png"
                Image.new("RGB", (4, 4), (label % 256, index, 0)).save(folder / path)
                lines.append(line.format(path=path, label=label))
        text = newline.join([*lines, ""])
        (folder / f"{name}.txt").write_text(text, encoding=encoding, newline="")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        find_suite(str(folder))
    assert "\n" not in str(error.value) and len(str(error.value)) < 1500
    return str(error.value)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_marks_and_ends_of_lines(tmp_path: Path, encoding: str, newline: str):
    of = find_suite(str(lists(tmp_path / "own", encoding=encoding, newline=newline)))
    (task,) = of.tasks
    assert (task.train, task.val, task.test, task.classes, task.layout) == (8, 8, 8, 2, "lists")
    assert len(TaskData.of(data_root(of, None), of, task).list("test").images) == 8


def test_other_encodings_are_one_line(tmp_path: Path):
    folder = lists(tmp_path / "own")
    content = (folder / "train.txt").read_bytes()
    (folder / "train.txt").write_bytes(content + b"images/train/caf\xe9.png 0\n")
    assert refused(folder).startswith(f"{folder}/train.txt: line 9: expected UTF-8 text; found the byte 0xe9")
    (folder / "train.txt").write_bytes(content.decode().encode("utf-16"))
    assert refused(folder).startswith(f"{folder}/train.txt: line 1: expected UTF-8 text; found the byte 0xff")


def test_tabs_are_refused(tmp_path: Path):
    folder = lists(tmp_path / "own", line="{path}\t{label}")
    line = refused(folder)
    assert line == f"{folder}/train.txt, line 1: expected 'path label'; found 'images/train/0 0.png\\t0'"


def test_one_label_is_refused(tmp_path: Path):
    folder = lists(tmp_path / "own", labels=(1,))
    assert refused(folder) == f"{folder}/train.txt: expected two classes at least; found no label but 1"


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("99999999999", "train.txt, line 1: expected a label from 0 to 999999999; found 99999999999"),
        ("9" * 6000, "train.txt, line 1: expected a label from 0 to 999999999; found 999"),
        ("99999999", "expected no more classes than images (24), with labels from 0 on; found the label 999"),
        ("-1", "train.txt, line 1: expected 'path label'; found 'images/train/0 0.png -1'"),
        ("1.0", "train.txt, line 1: expected 'path label'"),
        ("\u0663", "train.txt, line 1: expected 'path label'"),
        ("x" * 6000, "train.txt, line 1: expected 'path label'"),
    ],
)
def test_absurd_labels_are_refused_before_anything_is_built(tmp_path: Path, label: str, words: str):
    folder = lists(tmp_path / "own")
    for name in ("train.txt", "val.txt", "test.txt"):
        file = folder / name
        file.write_text(file.read_text().replace("0 0.png 0\n", f"0 0.png {label}\n"))
    assert words in refused(folder)


def test_a_label_that_training_lacks_is_refused_unless_the_classes_are_named(tmp_path: Path):
    folder = lists(tmp_path / "own")
    file = folder / "test.txt"
    file.write_text(file.read_text().replace(" 1\n", " 2\n"))
    assert f"{folder}: expected the labels of 'train' in 'test'; found 2" in refused(folder)
    (folder / "classes.txt").write_text("cat\ndog\nowl\n\n")
    (task,) = find_suite(str(folder)).tasks
    assert task.class_names == ("cat", "dog", "owl") and task.classes == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"caf\xe9\ndog\n", "classes.txt, line 1: expected UTF-8 text"),
        (b"cat\n\ndog\n", "classes.txt: expected names of classes in UTF-8"),
        (b"cat\n\x1b[2Jdog\n", "classes.txt: expected names of classes in UTF-8"),
        (b"cat\nCAT\n", "classes.txt: expected names of classes that differ in more than case"),
        (b"cat\n" + b"d" * 5000, "classes.txt: expected names of classes in UTF-8"),
        (b"cat\n", "classes.txt: expected two classes at least; found cat"),
    ],
)
def test_names_of_classes_in_a_file_are_checked(tmp_path: Path, content: bytes, words: str):
    folder = lists(tmp_path / "own")
    (folder / "classes.txt").write_bytes(content)
    assert words in refused(folder)


@pytest.mark.parametrize("name", ["valid", "Validation", "DEV", "val200", "eval"])
def test_names_of_list_files_in_any_case_and_their_synonyms(tmp_path: Path, name: str):
    folder = lists(tmp_path / "own", names=("Training", name, "TEST"))
    (task,) = find_suite(str(folder)).tasks
    assert (task.train, task.val, task.test) == (8, 8, 8)


def test_two_list_files_for_one_split_are_refused(tmp_path: Path):
    folder = lists(tmp_path / "own", names=("train", "val", "dev"))
    assert refused(folder) == f"{folder}: expected one list file for 'val'; found dev.txt and val.txt"


def test_list_files_without_one_for_training_are_refused(tmp_path: Path):
    """Class folders beside a list of the test pictures would else be cut anew."""
    folder = lists(tmp_path / "own", names=("trainval", "test"))
    assert (
        refused(folder)
        == f"{folder}: expected a list file train.txt beside test.txt, trainval.txt; found none"
    )


@pytest.mark.parametrize(
    ("name", "text", "split"),
    [
        ("test_list.txt", "images/test/0 0.png 0\n", "test"),
        ("holdout.txt", "images/test/0 0.png 0\n", "test"),
        ("query.txt", "images/test/0 0.png 0\n", "test"),
        ("test.csv", "path,label\nimages/test/0 0.png,0\n", "test"),
        ("test.csv", "id,breed\n000bec,cat\n", "test"),
        ("test", "0 0.png 0\n", "test"),
        ("Test.json", "[]", "test"),
    ],
)
def test_a_list_of_another_name_is_refused_where_a_split_would_be_cut(
    tmp_path: Path, name: str, text: str, split: str
):
    folder = lists(tmp_path / "own", names=("train", "val"))
    (folder / name).write_text(text)
    line = refused(folder)
    assert line.startswith(
        f"{folder}: expected a list file {split}.txt, or no list beside those that are read"
    )
    assert f"found {name}, which is not" in line


def test_a_list_of_another_name_is_refused_beside_class_folders(tmp_path: Path):
    folder = class_folders(tmp_path / "pets", {"cat": 6, "dog": 6})
    (folder / "images.csv").write_text("cat/p000.png,cat\ndog/p000.png,dog\n")  # says no split
    of = find_suite(str(folder))
    assert left_out(folder, of.tasks[0]) == ["images.csv"]
    (folder / "val_list.txt").write_text("cat/p000.png 0\n")
    assert "expected a list file val.txt" in refused(folder) and "found val_list.txt" in refused(folder)
    folder = tmp_path / "split"
    for name in ("train", "val", "test"):
        class_folders(folder / name, {"cat": 6, "dog": 6})
    (folder / "test_list.txt").write_text("cat/p000.png 0\n")  # what it would say is said by the folder
    of = find_suite(str(folder))
    assert left_out(folder, of.tasks[0]) == ["test_list.txt"]


def test_other_texts_beside_list_files_are_no_lists(tmp_path: Path):
    folder = lists(tmp_path / "own", names=("train", "val"))
    (folder / "README.txt").write_text("Pictures of cats.\nSee images/train/0 0.png first.\nThe end.\n")
    (folder / "classes.txt").write_text("cat\ndog\n")
    (folder / "contest_rules.txt").write_text("None.\n")
    (task,) = find_suite(str(folder)).tasks
    assert (task.train, task.val, task.layout) == (6, 8, "lists") and left_out(folder, task) == []


def test_a_list_of_another_name_is_said_where_nothing_is_cut(tmp_path: Path):
    folder = lists(tmp_path / "own")
    (folder / "test_hard.txt").write_text("images/test/0 0.png 0\n")
    of = find_suite(str(folder))
    report = check_task(TaskData.of(data_root(of, None), of, of.tasks[0]))
    ignored = [finding.text for finding in report.findings if finding.kind == "ignored"]
    assert ignored == [
        "expected list files of known names alone; found 1 other files or folders: test_hard.txt"
    ]


def test_something_else_under_the_name_of_a_list_file_is_refused(tmp_path: Path):
    folder = lists(tmp_path / "own", names=("train", "val"))
    (folder / "test.txt").mkdir()
    assert refused(folder) == f"{folder}/test.txt: expected a list file; found a folder"
    (folder / "test.txt").rmdir()
    os.mkfifo(folder / "test.txt")
    assert refused(folder) == f"{folder}/test.txt: expected a list file; found something else"


def test_list_files_that_name_nothing_of_a_splits_folder_are_refused(tmp_path: Path):
    folder = lists(tmp_path / "own", names=("train", "val"))
    for name in ("train", "test"):
        class_folders(folder / name, {"cat": 2, "dog": 2})
    line = (
        f"{folder}: expected either list files or folders of splits; found list files that name no picture in"
    )
    assert refused(folder) == f"{line} 'test'"
    (folder / "test.txt").write_text("./test/cat/p000.png 0\nimages/../test/dog/p000.png 1\n")
    assert refused(folder) == f"{line} 'train'"
    file = folder / "train.txt"
    file.write_text(file.read_text() + "train/cat/p000.png 0\ntrain/dog/p000.png 1\n")
    (task,) = find_suite(str(folder)).tasks
    assert (task.train, task.val, task.test) == (10, 8, 2)


def test_what_is_no_regular_file_is_none(tmp_path: Path):
    folder = lists(tmp_path / "own")
    for name in ("images/train/0 0.png", "images/train/0 1.png"):
        (folder / name).unlink()
    os.mkfifo(folder / "images/train/0 0.png")
    assert "line 1: expected an image file; found none at" in refused(folder)
    (folder / "images/train/0 0.png").unlink()
    (folder / "images/train/0 0.png").symlink_to("0 0.png")
    assert "line 1: expected a path inside" in refused(folder)
    file = folder / "train.txt"
    file.write_text(file.read_text().replace("images/train/0 0.png", "n" * 3000))
    assert "line 1: expected a path inside" in refused(folder)
