import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from tests.data.trees import class_folders, small_vtab, write_task
from wst.data import splits
from wst.data.check.check import check_task
from wst.data.class_folders import left_out
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


@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=4))
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
        class_folders(folder / val, {"owl": 3, "tit": 4})
    if test:
        class_folders(folder / test, {"owl": 5, "tit": 4})
    (task,) = find_suite(str(folder)).tasks
    assert task.classes == 2
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


PETS = {"cat": 5, "dog": 5}


def split_tree(folder, *names):
    for place, name in enumerate(names):
        class_folders(folder / name, {"cat": 5 + place, "dog": 5})
    return folder


def refused(path):
    """The one line that refuses a suite."""
    with pytest.raises(InputError) as error:
        find_suite(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val", "Test"),
        ("training", "validation", "testing"),
        ("train", "dev", "test"),
        ("TRAIN", "eval", "Testing"),
        ("Training", "Valid", "TEST"),
    ],
)
def test_names_of_splits_in_any_case_and_their_synonyms(tmp_path, names):
    (task,) = find_suite(str(split_tree(tmp_path / "pets", *names))).tasks
    assert (task.class_names, task.train, task.val, task.test) == (("cat", "dog"), 10, 11, 12)
    for split, name in zip(("train", "val", "test"), names, strict=True):
        assert {path.parts[-3] for path in listed(tmp_path / "pets", split).images} == {name}


def test_a_class_called_train_is_a_class(tmp_path):
    folder = class_folders(tmp_path / "vehicles", {"car": 10, "bus": 10, "train": 10})
    (task,) = find_suite(str(folder)).tasks
    assert task.class_names == ("bus", "car", "train") and task.train + task.val + task.test == 30


def test_two_folders_for_one_split_are_refused(tmp_path):
    folder = split_tree(tmp_path / "pets", "train", "val", "dev")
    assert refused(folder) == f"{folder}: expected one folder for 'val'; found 'dev', 'val'"


def test_a_split_without_a_training_folder_is_refused(tmp_path):
    folder = split_tree(tmp_path / "pets", "val", "test")
    assert "expected a folder 'train' beside 'test', 'val'; found none" in refused(folder)


@pytest.mark.parametrize("files", [[], ["000.png"]])
def test_the_folder_of_a_split_needs_classes(tmp_path, files):
    """As a download whose test pictures have no labels: they are not cut anew from the training pictures."""
    folder = split_tree(tmp_path / "pets", "train")
    (folder / "test").mkdir()
    for name in files:
        (folder / "test" / name).write_bytes(b"x")
    assert f"{folder / 'test'}: expected a subfolder of pictures a class" in refused(folder)


def test_pictures_beside_the_splits_are_named_and_refused(tmp_path):
    folder = split_tree(tmp_path / "pets", "train", "test")
    (folder / "notes").mkdir()
    (folder / "notes" / "about.txt").write_text("no picture")
    assert len(find_suite(str(folder)).tasks) == 1
    class_folders(folder / "extra" / "deep", {"owl": 1})
    class_folders(folder, {"spare": 1})
    assert refused(folder).endswith("('test', 'train'); found some in 'extra', 'spare'")


def test_pictures_in_folders_of_splits_alone_are_no_classes(tmp_path):
    folder = class_folders(tmp_path / "pets", {"Train": 5, "Test": 5})
    assert refused(folder) == f"{folder}: expected a subfolder a class in 'Test'; found pictures alone"


def test_one_class_is_refused(tmp_path):
    folder = class_folders(tmp_path / "pets", {"cat": 20})
    assert refused(folder) == f"{folder}: expected two classes at least; found cat"


@pytest.mark.parametrize(
    ("first", "second"), [("Cat", "cat"), ("STRASSE", "stra\u00dfe"), ("caf\u00e9", "cafe\u0301")]
)
def test_classes_that_differ_in_case_or_encoding_alone_are_refused(tmp_path, first, second):
    folder = class_folders(tmp_path / "pets", {"dog": 5, first: 5, second: 5})
    line = refused(folder)
    assert "differ in more than case" in line and ascii(first) in line and ascii(second) in line
    other = tmp_path / "splits"
    class_folders(other / "train", {"dog": 5, first: 5})
    class_folders(other / "val", {"dog": 5, second: 5})
    assert "differ in more than case" in refused(other)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_training_lacks_is_refused(tmp_path, split):
    folder = split_tree(tmp_path / "pets", "train")
    class_folders(folder / split, {**PETS, "owl": 1})
    assert refused(folder) == (
        f"{folder / 'train'}: expected pictures of class 'owl'; found it in {split!r} alone"
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_another_split_lacks_is_a_warning(tmp_path, split):
    folder = split_tree(tmp_path / "pets", "train")
    class_folders(folder / split, {"cat": 5})
    of = find_suite(str(folder))
    found = check_task(TaskData.of(data_root(of, None), of, of.tasks[0])).findings
    assert ("warning", "coverage", split) in [(f.level, f.kind, f.split) for f in found]
    assert any("found none of dog" in finding.text for finding in found)


def test_names_that_are_no_text_are_refused(tmp_path):
    folder = class_folders(tmp_path / "latin1", {"cat": 5})
    (folder / os.fsdecode(b"caf\xe9")).mkdir()
    (folder / os.fsdecode(b"caf\xe9") / "x.png").write_bytes(b"x")
    line = refused(folder)
    assert line.startswith(f"{folder}: expected names of classes in UTF-8") and r"b'caf\xe9'" in line
    shouting = class_folders(tmp_path / "control", {"cat": 5, "\x1b[31mdog": 5})
    assert r"found '\x1b[31mdog'" in refused(shouting)
    below = class_folders(tmp_path / os.fsdecode(b"d\xe9j\xe0") / "pets", PETS)
    assert "suite: expected a path in UTF-8" in refused(below)


def test_hidden_copies_and_resource_forks_are_no_pictures(tmp_path):
    folder = class_folders(tmp_path / "pets", PETS)
    for inside in ("cat/.ipynb_checkpoints", "cat/deep/.ipynb_checkpoints", "__MACOSX/cat", "cat/__MACOSX"):
        (folder / inside).mkdir(parents=True)
        (folder / inside / "p000-checkpoint.png").write_bytes((folder / "cat" / "p000.png").read_bytes())
    (folder / "cat" / "._p000.png").write_bytes(b"Mac OS X        ")
    (folder / "dog" / "Thumbs.db").write_bytes(b"x")
    (task,) = find_suite(str(folder)).tasks
    assert (task.class_names, task.train + task.val + task.test) == (("cat", "dog"), 10)
    assert left_out(folder, task) == []


def test_what_is_left_out_is_counted_and_said(tmp_path):
    folder = class_folders(tmp_path / "pets", PETS)
    (folder / "cat" / "notes.txt").write_text("cats")
    (folder / "dog" / "deep").mkdir()
    (folder / "dog" / "deep" / "raw.heic").write_bytes(b"x")
    os.mkfifo(folder / "dog" / "pipe.png")
    (folder / "loose.png").write_bytes(b"x")
    (folder / "owl").mkdir()
    (folder / "owl" / "owl.heic").write_bytes(b"x")
    of = find_suite(str(folder))
    assert of.tasks[0].class_names == ("cat", "dog")
    assert left_out(folder, of.tasks[0]) == [
        "loose.png",
        "cat/notes.txt",
        "dog/deep/raw.heic",
        "dog/pipe.png",
        "owl/owl.heic",
    ]
    report = check_task(TaskData.of(data_root(of, None), of, of.tasks[0]))
    assert report.usable
    (finding,) = [finding for finding in report.findings if finding.kind == "ignored"]
    assert (finding.level, finding.count) == ("warning", 5)
    assert finding.text.startswith(
        "expected pictures in class folders alone; found 5 other files or folders: loose.png, "
    )
    split = split_tree(tmp_path / "splits", "train", "test")
    (split / "loose.png").write_bytes(b"x")
    (split / "test" / "cat" / "notes.txt").write_text("cats")
    assert left_out(split, find_suite(str(split)).tasks[0]) == ["test/cat/notes.txt", "loose.png"]


def test_a_link_to_nothing_is_refused(tmp_path):
    folder = class_folders(tmp_path / "pets", PETS)
    (folder / "cat" / "gone.png").symlink_to("p999.png")
    assert refused(folder) == f"{folder}/cat/gone.png: expected a picture or a folder; found a link to none"
    (folder / "cat" / "gone.png").unlink()
    os.mkfifo(folder / "cat" / "pipe")
    (folder / "cat" / "gone.png").symlink_to("pipe")
    assert refused(folder).endswith("found a link to none")


def suite_file(tmp_path, task):
    (tmp_path / "suite.yaml").write_text(f"name: own\ntasks: [{task}]\n")
    return tmp_path / "suite.yaml"


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("[cat, dogg]", "expected pictures of class 'dogg'; found none"),
        ("[cat]", "classes of task 'pets': expected two classes at least; found cat"),
        ("[cat, Cat]", "differ in more than case"),
        ("[cat, cat]", "expected each class once; found 'cat' more than once"),
        ("[cat, dog, dog/small]", "expected classes apart from each other; found 'dog/small'"),
        ('["cat", "a\\tb"]', "expected names of classes in UTF-8"),
    ],
)
def test_classes_of_a_suite_file_are_checked(tmp_path, classes, words):
    class_folders(tmp_path / "pets", {"cat": 5, "dog": 5, "dog/small": 2})
    assert words in refused(suite_file(tmp_path, f"{{name: pets, classes: {classes}}}"))


def test_a_suite_file_with_a_byte_order_mark_is_read(tmp_path):
    class_folders(tmp_path / "pets", PETS)
    file = suite_file(tmp_path, "{name: pets}")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert find_suite(str(file)).tasks[0].classes == 2
    file.write_bytes(b"name: own\ncaveat: caf\xe9\ntasks: [{name: pets}]\n")
    assert refused(file).startswith(f"{file}, line 2: expected UTF-8 text; found the byte 0xe9")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_counts_and_is_not_lossless(tmp_path):
    folder = class_folders(tmp_path / "pets", PETS)
    for path in folder.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".avif"))
        path.unlink()
    of = find_suite(str(folder))
    report = check_task(TaskData.of(data_root(of, None), of, of.tasks[0]))
    assert report.formats == {"AVIF": 10} and report.encoding == "mixed"


def test_links_to_folders_and_folders_without_pictures_are_said(tmp_path):
    folder = class_folders(tmp_path / "pets", {"cat": 6, "dog": 6})
    (folder / "dog" / "more").symlink_to("../cat")
    (folder / "owl" / "old").mkdir(parents=True)
    os.mkfifo(folder / "cat" / "pipe.png")
    of = find_suite(str(folder))
    data = TaskData.of(data_root(of, None), of, of.tasks[0])
    assert data.task.class_names == ("cat", "dog")
    assert left_out(folder, data.task) == ["cat/pipe.png", "dog/more", "owl/"]
    (ignored,) = [finding for finding in check_task(data).findings if finding.kind == "ignored"]
    assert (ignored.level, ignored.count) == ("warning", 3) and "cat/pipe.png, dog/more, owl/" in ignored.text


def test_a_folder_beside_tasks_whose_pictures_lie_deeper_is_refused(tmp_path):
    suite = tmp_path / "suite"
    for name in ("t1", "t2"):
        class_folders(suite / name, {"cat": 6, "dog": 6})
    (suite / "notes" / "old").mkdir(parents=True)
    assert [task.name for task in find_suite(str(suite)).tasks] == ["t1", "t2"]
    for name in ("cat1", "cat2"):
        class_folders(suite / "t3" / name, {"sub": 3})
    with pytest.raises(
        InputError, match=r"a subfolder a class in each folder with pictures; found some in 't3'"
    ):
        find_suite(str(suite))
    Image.new("RGB", (4, 4)).save(suite / "t3" / "cat1" / "x.png")  # a class whose pictures lie at two depths
    assert [task.name for task in find_suite(str(suite)).tasks] == ["t1", "t2", "t3"]
