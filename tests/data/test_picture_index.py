"""A folder of pictures is walked once, by whichever process comes first, until it changes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT, small_study
from wst.data import picture_index as indices
from wst.data.memo import cache_folder
from wst.data.picture_index import images_in, picture_index
from wst.data.splits import TaskData, data_root
from wst.data.suites import find_suite
from wst.ledger import Ledger
from wst.study import Study

PICTURES = 2000


@pytest.fixture(autouse=True)
def _own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(indices, "_known", {})


@pytest.fixture
def walks(monkeypatch):
    """Folders that were walked."""
    seen = []
    original = indices._walk

    def walk(where):
        seen.append(where)
        return original(where)

    monkeypatch.setattr(indices, "_walk", walk)
    return seen


def settle(folder: Path) -> None:
    """As if the folder and those below it had changed an hour ago."""
    then = time.time() - 3600
    for where, _, _ in os.walk(folder):
        os.utime(where, (then, then))


def many(folder: Path, pictures: int = PICTURES, classes: int = 10) -> Path:
    """A folder of classes; all pictures are one file."""
    for label in range(classes):
        (folder / f"c{label}").mkdir(parents=True)
    first = folder / "c0" / "0.png"
    Image.new("RGB", (4, 4), "red").save(first)
    for number in range(1, pictures):
        os.link(first, folder / f"c{number % classes}" / f"{number}.png")
    settle(folder)
    return folder


def study_of(folder: Path) -> Study:
    return small_study(suite=str(folder), tasks=[folder.name])


def use(folder: Path, out: Path) -> TaskData:
    """What a command does with a suite: find it, read a study of it, open a ledger, list and open splits."""
    suite = find_suite(str(folder))
    data = TaskData.of(data_root(suite, None), suite, suite.tasks[0])
    with Ledger(out, study_of(folder), {"version": "0", "commit": None, "libraries": "{}"}):
        pass
    assert len(data.list("trainval").images) == suite.tasks[0].train + suite.tasks[0].val
    assert len(data.open("val", 4, "search").labels) == suite.tasks[0].val
    return data


def test_a_folder_is_walked_once_and_again_when_it_changes(tmp_path, walks):
    folder = many(tmp_path / "pictures")
    data = use(folder, tmp_path / "out")
    assert walks == [str(folder)] and data.task.train + data.task.val + data.task.test == PICTURES
    indices._known.clear()  # as in a new process
    assert use(folder, tmp_path / "out").task == data.task
    assert len(walks) == 1

    (folder / "c3" / "new.png").write_bytes((folder / "c0" / "0.png").read_bytes())
    os.utime(folder / "c3", (1e9, 1e9))  # another time is enough, whichever it is
    assert len(find_suite(str(folder)).tasks) == 1 and len(walks) == 2
    assert sum(map(len, picture_index(folder).images.values())) == PICTURES + 1

    (folder / "c3" / "new.png").unlink()
    settle(folder)
    assert use(folder, tmp_path / "out").task == data.task
    assert len(walks) == 3


def test_a_subfolder_below_a_class_counts(tmp_path, walks):
    folder = many(tmp_path / "pictures", 20, 2)
    (folder / "c1" / "more" / "still").mkdir(parents=True)
    settle(folder)
    picture_index(folder)
    os.link(folder / "c0" / "0.png", folder / "c1" / "more" / "still" / "x.png")
    os.utime(folder / "c1" / "more" / "still", (1e9, 1e9))
    assert picture_index(folder).images["c1"][-1] == "c1/more/still/x.png" and len(walks) == 2


def test_a_folder_that_changed_just_now_is_not_trusted(tmp_path, walks):
    folder = many(tmp_path / "pictures", 20, 2)
    os.utime(folder / "c1")
    picture_index(folder)
    picture_index(folder)
    assert len(walks) == 2 and not (cache_folder() / "folders").exists()
    settle(folder)
    picture_index(folder)
    picture_index(folder)
    assert len(walks) == 3


OTHER = """
import sys
from wst.data import picture_index
from wst.data.suites import find_suite
def walk(where):
    raise AssertionError("walked again")
picture_index._walk = walk
print(find_suite(sys.argv[1]).tasks[0].train)
"""


@pytest.mark.slow
def test_another_process_reads_the_index(tmp_path, walks):
    folder = many(tmp_path / "pictures")
    train = find_suite(str(folder)).tasks[0].train
    command = [sys.executable, "-c", OTHER, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert int(out) == train and len(walks) == 1


DAMAGES = {
    "empty": lambda file: file.write_text(""),
    "cut off": lambda file: os.truncate(file, file.stat().st_size // 2),
    "a letter changed": lambda file: file.write_text(file.read_text().replace("c0/0.png", "c0/9.png")),
    "not text": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "of another folder": lambda file: file.write_text(file.read_text().replace("pictures", "features")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_again(tmp_path, walks, damage):
    folder = many(tmp_path / "pictures", 20, 2)
    before = picture_index(folder)
    (file,) = (cache_folder() / "folders").iterdir()
    DAMAGES[damage](file)
    indices._known.clear()
    assert picture_index(folder).images == before.images and len(walks) == 2
    indices._known.clear()
    picture_index(folder)
    assert len(walks) == 2


def test_an_index_that_cannot_be_kept_is_no_hindrance(tmp_path, walks):
    folder = many(tmp_path / "pictures", 20, 2)
    (tmp_path / "cache").write_text("a file in the way")
    assert len(picture_index(folder).images) == 2 and len(picture_index(folder).images) == 2
    assert len(walks) == 1


def test_links_hidden_files_and_names_of_any_bytes(tmp_path):
    folder = many(tmp_path / "pictures", 20, 2)
    elsewhere = many(tmp_path / "elsewhere", 4, 1)
    (folder / "linked").symlink_to(elsewhere / "c0")
    (folder / "c0" / "not-followed").symlink_to(elsewhere / "c0")
    (folder / "c0" / "link.png").symlink_to(elsewhere / "c0" / "0.png")
    for name in (".hidden.png", "notes.txt", os.fsdecode(b"caf\xe9.png")):
        (folder / "c0" / name).touch()
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").touch()
    settle(folder)
    walked = picture_index(folder)
    assert list(walked.images) == ["c0", "c1", "linked"] and len(walked.images["linked"]) == 4
    assert walked.links == {"linked", "c0/link.png"}
    assert len(walked.images["c0"]) == 12 and os.fsdecode(b"c0/caf\xe9.png") in walked.images["c0"]
    indices._known.clear()
    read = picture_index(folder)
    assert read is not walked and vars(read) == vars(walked)


def test_order_is_that_of_the_parts_of_a_path(tmp_path):
    for name in ("a/1.png", "a-b/1.png", "a/0/1.png", "a.png"):
        (tmp_path / "pictures" / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / "c" / name).touch()
    found = picture_index(tmp_path / "pictures").images["c"]
    assert [Path(p) for p in found] == sorted(Path(p) for p in found) and len(found) == 4


def test_the_index_is_plain_json_under_its_hash(tmp_path):
    folder = many(tmp_path / "pictures", 4, 2)
    picture_index(folder)
    (file,) = (cache_folder() / "folders").iterdir()
    content = json.loads(file.read_text().splitlines()[1])
    assert content["folder"] == str(folder) and content["images"]["c1"] == ["c1/1.png", "c1/3.png"]


def test_an_index_of_a_pillow_that_opens_other_formats_is_made_again(tmp_path, walks, monkeypatch):
    folder = many(tmp_path / "pictures", 20, 2)
    (folder / "c0" / "new.heic").touch()
    settle(folder)
    assert picture_index(folder).others == ("c0/new.heic",)
    indices._known.clear()
    monkeypatch.setattr(indices, "endings", lambda: frozenset({".png", ".heic"}))
    assert "c0/new.heic" in picture_index(folder).images["c0"] and len(walks) == 2


def test_all_pictures_of_a_folder_at_any_depth(tmp_path):
    folder = many(tmp_path / "pictures", 4, 2)
    for name in ("top.png", ".hidden.png", "notes.txt", "c0/deep/x.png", "c0/.cache/y.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    os.mkfifo(folder / "pipe.png")
    found = [path.relative_to(folder).as_posix() for path in images_in(folder)]
    assert found == [
        *("c0/0.png", "c0/2.png", "c0/deep/x.png", "c1/1.png", "c1/3.png"),
        *("pipe.png", "top.png"),  # a pipe is there for whoever opens it to refuse
    ]
