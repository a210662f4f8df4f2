import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.trees import class_folders, small_vtab, write_task
from wst.data import splits
from wst.data.check.check import check_task
from wst.data.splits import TaskData, data_root
from wst.data.suites import find_suite
from wst.errors import InputError


def listed(path, split, task=0):
    of = find_suite(str(path))
    return TaskData.of(data_root(of, None), of, of.tasks[task]).list(split)


def test_one_folder_is_split_by_class(tmp_path):
    folder = class_folders(tmp_path / "pets", {"cat": 20, "dog": 10})
    of = find_suite(str(folder))
    (task,) = of.tasks
    assert (of.name, task.name, task.classes, task.class_names) == ("pets", "pets", 2, ("cat", "dog"))
    assert (task.train, task.val, task.test) == (18, 6, 6)
    parts = {split: listed(folder, split) for split in ("train", "val", "test", "trainval")}
    assert {s: np.bincount(p.labels).tolist() for s, p in parts.items()} == {
        "train": [12, 6],
        "val": [4, 2],
        "test": [4, 2],
        "trainval": [16, 8],
    }
    images = [set(parts[split].images) for split in ("train", "val", "test")]
    assert len(set.union(*images)) == 30 and images[0] | images[1] == set(parts["trainval"].images)
    assert all(
        path.parent.name == ("cat", "dog")[label]
        for part in parts.values()
        for path, label in zip(part.images, part.labels, strict=True)
    )


def test_the_split_depends_on_names_alone(tmp_path):
    one = class_folders(tmp_path / "one", {"cat": 12, "dog": 9})
    two = class_folders(tmp_path / "two", {"dog": 9, "cat": 12})  # made in another order
    for split in ("train", "val", "test"):
        names = [[p.relative_to(f).as_posix() for p in listed(f, split).images] for f in (one, two)]
        assert names[0] == names[1]


@given(counts=st.lists(st.integers(1, 12), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_every_image_is_in_one_split_and_every_class_in_train(tmp_path_factory, counts):
    folder = tmp_path_factory.mktemp("own")
    for label, count in enumerate(counts):
        (folder / f"c{label}").mkdir()
        for index in range(count):
            (folder / f"c{label}" / f"{index}.png").write_bytes(b"x")
    of = find_suite(str(folder))
    sizes = {split: getattr(of.tasks[0], split) for split in ("train", "val", "test")}
    assert sum(sizes.values()) == sum(counts)
    assert all(len(listed(folder, split).images) == size for split, size in sizes.items() if size)
    assert set(listed(folder, "train").labels) == set(range(len(counts)))


@pytest.mark.parametrize("val", ["val", "valid", None])
@pytest.mark.parametrize("test", ["test", None])
def test_folders_of_splits(tmp_path, val, test):
    folder = tmp_path / "birds"
    class_folders(folder / "train", {"owl": 20, "tit": 20})
    if val:
        class_folders(folder / val, {"owl": 3, "tit": 3, "wren": 1})
    if test:
        class_folders(folder / test, {"owl": 5, "tit": 4})
    (task,) = find_suite(str(folder)).tasks
    assert task.classes == (3 if val else 2)
    assert task.test == (9 if test else 8)
    assert task.val == (7 if val else 8)
    assert task.train == 40 - (0 if val else 8) - (0 if test else 8)
    if test:
        assert all(path.relative_to(folder).parts[0] == test for path in listed(folder, "test").images)
    else:
        assert not set(listed(folder, "test").images) & set(listed(folder, "trainval").images)


def test_list_files(tmp_path):
    folder = tmp_path / "mine"
    class_folders(folder / "pictures", {"a": 10, "b": 10})
    paths = [f"pictures/{name}/p{i:03d}.png {label}" for label, name in enumerate("ab") for i in range(10)]
    (folder / "train.txt").write_text("\n".join(paths[:7] + paths[10:17]))
    (folder / "test.txt").write_text("\n".join(paths[7:10] + paths[17:]))
    (folder / "classes.txt").write_text("apple\nbanana\n")
    (task,) = find_suite(str(folder)).tasks
    assert (task.layout, task.classes, task.class_names) == ("lists", 2, ("apple", "banana"))
    assert (task.train, task.val, task.test) == (12, 2, 6)  # val is cut out of train.txt
    assert len(listed(folder, "trainval").images) == 14


def test_vtab_lists_of_another_size(tmp_path):
    of = small_vtab(["svhn"])
    folder = write_task(tmp_path, of, of.tasks[0])
    (task,) = find_suite(str(folder)).tasks
    assert (task.train, task.val, task.test, task.classes) == (24, 8, 12, 10)


def test_a_folder_of_tasks(tmp_path):
    class_folders(tmp_path / "both" / "first", {"x": 6, "y": 6})
    class_folders(tmp_path / "both" / "second" / "train", {"x": 6, "y": 6, "z": 6})
    of = find_suite(str(tmp_path / "both"))
    assert [(task.name, task.classes, task.group) for task in of.tasks] == [
        ("first", 2, "own"),
        ("second", 3, "own"),
    ]
    assert len(listed(tmp_path / "both", "train", 1).images) == of.tasks[1].train


def test_yaml(tmp_path):
    class_folders(tmp_path / "data" / "pets", {"cat": 10, "dog": 10})
    class_folders(tmp_path / "elsewhere" / "train", {"x": 6, "y": 6})
    file = tmp_path / "mine.yaml"
    file.write_text(
        """
name: mine
caveat: Small.
tasks:
  - {name: pets, folder: data/pets, group: natural, val: 0.1, test: 0.3, about: cat or dog}
  - {name: letters, folder: elsewhere, classes: [y, x]}
"""
    )
    of = find_suite(str(file))
    assert (of.name, of.caveat, [t.name for t in of.tasks]) == ("mine", "Small.", ["pets", "letters"])
    pets, letters = of.tasks
    assert (pets.train, pets.val, pets.test, pets.group) == (12, 2, 6, "natural")
    assert letters.class_names == ("y", "x")
    part = listed(file, "train", 1)
    assert all(
        ("y", "x")[label] == path.parent.name for path, label in zip(part.images, part.labels, strict=True)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ntasks: []", "tasks: "),
        ("name: a\ntasks: [{name: b, folder: nowhere}]", "found none at nowhere"),
        ("name: a\ntasks: [{name: b, colour: red}]", "tasks.0: expected only the keys"),
        ("name: a\ntasks: [{name: b, val: 2}]", "tasks.0.val: expected a number less than 1; found 2"),
        ("name: '<script>'\ntasks: [{name: b}]", "name: "),
        ("- 1", "expected a mapping; found [1]"),
    ],
)
def test_bad_yaml_is_one_line(tmp_path, text, words):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        find_suite(str(file))
    assert words in str(error.value) and "\n" not in str(error.value) and "bad.yaml" in str(error.value)


def test_what_is_no_suite(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected list files, a subfolder a class, or a folder a task"):
        find_suite(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="expected one of mini, vtab1k, or the path"):
        find_suite("nosuchsuite")


def test_links_may_not_leave_the_folder(tmp_path):
    folder = class_folders(tmp_path / "pets", {"cat": 5, "dog": 5})
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (folder / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"link.png: expected a file inside"):
        find_suite(str(folder))


def test_no_root_is_needed_or_allowed(tmp_path):
    of = find_suite(str(class_folders(tmp_path / "pets", {"cat": 5, "dog": 5})))
    assert data_root(of, None) == data_root(of, str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match="--root: expected none"):
        data_root(of, "/")


def test_a_vtab_folder_is_vtab(tmp_path):
    of = small_vtab(["svhn"])
    write_task(tmp_path, of, of.tasks[0])
    found = find_suite(str(tmp_path / "vtab-1k"))
    assert found.name == "vtab1k" and len(found.tasks) == 19 and data_root(found, None) == tmp_path


def test_check_hash_and_guard(tmp_path):
    """An own suite passes the check, and its test split is closed to a search like any other."""
    folder = class_folders(tmp_path / "pets", {"cat": 10, "dog": 10})
    of = find_suite(str(folder))
    data = TaskData.of(data_root(of, None), of, of.tasks[0])
    report = check_task(data)
    assert report.usable and not report.findings and report.data_hash == data.hashes().all
    assert data.open("test", 8, "final").images.shape == (data.task.test, 3, 8, 8)
    with pytest.raises(splits.TestSplitClosedError):
        data.open("test", 8, "search")
