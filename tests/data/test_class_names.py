"""Every class of every shipped task has a name, in the order of the labels, but where no order is known."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np

from wst.data.check.contact_sheet import samples
from wst.data.class_names import check_names
from wst.data.lists import class_names
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.data.suites import suites
from wst.data.vtab1k import labels
from wst.data.vtab1k.pictures import SUN397_PARTITION

VTAB = suites()["vtab1k"]


def test_every_class_has_a_name_but_those_of_dmlab() -> None:
    for task in (*VTAB.tasks, *MINI.tasks):
        if task.name != "dmlab":
            assert len(task.class_names) == task.classes
            check_names(task.class_names, task.name)
    assert VTAB.task("dmlab").class_names == ()


def test_names_stand_in_the_order_of_the_labels() -> None:
    """Alphabetical where the labels are, by the label functions where these make them, else spot checks."""
    for name in ("cifar_100", "caltech101", "dtd", "sun397", "eurosat", "resisc45"):
        names = VTAB.task(name).class_names
        assert list(names) == sorted(names)
    pets = VTAB.task("pets").class_names
    assert list(pets) == sorted(pets, key=str.casefold)
    folders = lzma.decompress(SUN397_PARTITION.read_bytes()).decode().splitlines()
    assert set(VTAB.task("sun397").class_names) == {line for line in folders if line.startswith("/")}
    flowers = VTAB.task("flowers102").class_names
    assert (flowers[0], flowers[73], flowers[101]) == ("pink primrose", "rose", "blackberry lily")
    assert VTAB.task("caltech101").class_names[4] == "background_google"
    count = VTAB.task("clevr_count").class_names
    assert all(count[labels.clevr_count(n)] == f"{n} objects" for n in range(3, 11))
    distance = VTAB.task("clevr_dist").class_names
    assert distance[labels.clevr_distance([8.0])] == "depth up to 8"
    assert distance[labels.clevr_distance([9.2])] == "depth 9 to 9.5"
    assert distance[labels.clevr_distance([10.1])] == "depth above 10"
    turned = VTAB.task("dsprites_ori").class_names
    for place, label in enumerate(labels.dsprites_orientation(np.arange(40))):
        first, last = (int(word) for word in turned[label].split()[1:4:2])
        assert first <= place <= last
    azimuth = VTAB.task("smallnorb_azi").class_names
    assert azimuth[labels.smallnorb_azimuth(np.array([34]))[0]] == "azimuth 340 degrees"


def test_names_in_a_folder_go_before_the_known_ones(tmp_path: Path) -> None:
    svhn = VTAB.task("svhn")
    assert class_names(tmp_path, svhn) == tuple("0123456789")
    (tmp_path / "classes.txt").write_text("".join(f"digit {n}\n" for n in range(10)))
    assert class_names(tmp_path, svhn)[3] == "digit 3"
    (tmp_path / "classes.txt").write_text("one\n")
    assert class_names(tmp_path, svhn) == svhn.class_names


def test_a_contact_sheet_names_the_classes(mini_root: Path) -> None:
    found = samples(TaskData.of(mini_root, MINI, MINI.task("sprite_ori")), per_class=1)
    assert [one.name for one in found][:2] == ["0 right", "1 down right"]
