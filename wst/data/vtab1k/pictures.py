"""Data sets that come as picture files in an archive or a folder, with labels in names or tables."""

from __future__ import annotations

import csv
import lzma
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from wst.data.lists import inside_of
from wst.data.vtab1k import processing
from wst.data.vtab1k.formats import open_zip, pick, pick_zip, tar_members
from wst.data.vtab1k.opened import Opened, Payload, Wanted
from wst.data.vtab1k.tfds_order import Chosen
from wst.errors import InputError
from wst.shipped import ASSETS

SUN397_PARTITION = ASSETS / "sun397_partition.txt.xz"


def _members(names: Mapping[str, Sequence[str]], wanted: Wanted) -> dict[str, tuple[str, int]]:
    """The wanted examples by the names of their members."""
    return {names[split][index]: (split, index) for split, indices in wanted.items() for index in indices}


def _indices(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _from_tar(
    archive: Path, names: Mapping[str, Sequence[str]], wanted: Wanted
) -> Iterator[tuple[str, int, Payload]]:
    for (split, index), content in pick(tar_members(archive), _members(names, wanted), archive):
        yield split, index, content


def caltech101(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """A tar archive inside a zip archive; the split comes from the user's manifest."""
    archive = files["caltech-101.zip"]
    if manifest is None:
        raise InputError(
            "--manifest: expected a file with the split of caltech101 (lines 'train ant/image_0001.jpg'), "
            "since its draw cannot be recomputed; found none given (--from-folder adopts an export instead)"
        )
    outer = stack.enter_context(open_zip(archive))
    inner = next((n for n in outer.namelist() if n.endswith("101_ObjectCategories.tar.gz")), None)
    if inner is None:
        raise InputError(f"{archive}: expected a member 101_ObjectCategories.tar.gz; found none")

    def members() -> Iterator[tuple[str, IO[bytes]]]:
        with outer.open(inner) as stream:
            for name, content in tar_members(stream, outer.getinfo(inner).file_size):
                yield name.removeprefix("101_ObjectCategories/"), content

    classes = sorted({name.split("/")[0].lower() for name, _ in members() if name.endswith(".jpg")})
    label_of = _indices(classes)
    keys: list[str] = []
    parts: dict[str, list[Chosen]] = {"train": [], "val": [], "test": []}
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        split, _, path = line.strip().partition(" ")
        if split not in parts or path.split("/")[0].lower() not in label_of:
            raise InputError(
                f"{manifest}, line {number}: expected a split (train, val or test) and the path of an "
                f"image below 101_ObjectCategories; found {line!r}"
            )
        parts[split].append(Chosen("all", len(keys)))
        keys.append(path)

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        for (split, index), content in pick(members(), _members({"all": keys}, wanted), archive):
            yield split, index, content

    return Opened(
        keys={"all": keys},
        labels={"caltech101": {"all": [label_of[key.split("/")[0].lower()] for key in keys]}},
        read=read,
        class_names=tuple(classes),
        parts=parts,
    )


def dtd(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """The first of the ten official folds; lists and pictures lie in one archive."""
    archive = files["dtd-r1.0.1.tar.gz"]
    lists = {"train": "train1", "validation": "val1", "test": "test1"}
    wanted_lists = {f"dtd/labels/{name}.txt": split for split, name in lists.items()}
    keys = {s: c.decode().split() for s, c in pick(tar_members(archive), wanted_lists, archive)}
    classes = sorted({key.split("/")[0] for part in keys.values() for key in part})
    label_of = _indices(classes)
    names = {split: [f"dtd/images/{key}" for key in part] for split, part in keys.items()}
    return Opened(
        keys=keys,
        labels={"dtd": {s: [label_of[key.split("/")[0]] for key in part] for s, part in keys.items()}},
        read=lambda wanted: _from_tar(archive, names, wanted),
        class_names=tuple(classes),
    )


def flowers102(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """MATLAB tables with image numbers of each split and labels from 1."""
    from scipy.io import loadmat

    archive = files["102flowers.tgz"]
    labels = loadmat(files["imagelabels.mat"])["labels"].ravel()
    sets = loadmat(files["setid.mat"])
    numbers = {
        split: [int(number) for number in sets[name].ravel()]
        for split, name in (("train", "trnid"), ("validation", "valid"), ("test", "tstid"))
    }
    keys = {split: [f"image_{number:05d}.jpg" for number in part] for split, part in numbers.items()}
    names = {split: [f"jpg/{key}" for key in part] for split, part in keys.items()}
    return Opened(
        keys=keys,
        labels={"flowers102": {s: [int(labels[n - 1]) - 1 for n in part] for s, part in numbers.items()}},
        read=lambda wanted: _from_tar(archive, names, wanted),
    )


def pets(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """Lists of ``name class species breed``, classes from 1."""
    archive, annotations = files["images.tar.gz"], files["annotations.tar.gz"]
    lists = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}
    rows = {
        split: [line.split() for line in content.decode().splitlines() if line.strip()]
        for split, content in pick(tar_members(annotations), lists, annotations)
    }
    keys = {split: [f"{row[0]}.jpg" for row in part] for split, part in rows.items()}
    breeds = {int(row[1]): row[0].rpartition("_")[0] for part in rows.values() for row in part}
    names = {split: [f"images/{key}" for key in part] for split, part in keys.items()}
    return Opened(
        keys=keys,
        labels={"pets": {split: [int(row[1]) - 1 for row in part] for split, part in rows.items()}},
        read=lambda wanted: _from_tar(archive, names, wanted),
        class_names=tuple(breeds[number] for number in sorted(breeds)),
    )


def sun397_partition(file: Path = SUN397_PARTITION) -> dict[str, list[str]]:
    """Keys of TensorFlow Datasets' partition of SUN397, such as ``/a/abbey/sun_aaalbzqrimafwbiv.jpg``."""
    split_of = {"": "train", "v": "validation", "t": "test"}
    keys: dict[str, list[str]] = {split: [] for split in split_of.values()}
    folder = ""
    for line in lzma.decompress(file.read_bytes()).decode().splitlines():
        if line.startswith("/"):
            folder = line
        elif not line.startswith("#"):
            name, _, split = line.partition(" ")
            keys[split_of[split]].append(f"{folder}/sun_{name}.jpg")
    return keys


def sun397(
    files: Mapping[str, Path],
    stack: ExitStack,
    manifest: Path | None,
    partition: Path = SUN397_PARTITION,
) -> Opened:
    """A tar archive of pictures in folders, cut by TensorFlow Datasets' own partition."""
    archive = files["SUN397.tar.gz"]
    keys = sun397_partition(partition)
    classes = sorted({key.rpartition("/")[0] for part in keys.values() for key in part})
    label_of = _indices(classes)
    names = {split: [f"SUN397{key}" for key in part] for split, part in keys.items()}
    return Opened(
        keys=keys,
        labels={"sun397": {s: [label_of[key.rpartition("/")[0]] for key in p] for s, p in keys.items()}},
        read=lambda wanted: _from_tar(archive, names, wanted),
        class_names=tuple(classes),
        process=processing.sun397,
    )


def eurosat(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """A zip archive of pictures ``<class>_<number>.jpg`` in folders."""
    archive = stack.enter_context(open_zip(files["EuroSAT.zip"]))
    names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
    stems = [name.rpartition("/")[2] for name in names]
    classes = sorted({stem.split("_")[0] for stem in stems})
    label_of = _indices(classes)

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        members = _members({"train": names}, wanted)
        for (split, index), content in pick_zip(archive, members, files["EuroSAT.zip"]):
            yield split, index, content

    return Opened(
        keys={"train": [f"{stem.split('_')[0]}_{stem}" for stem in stems]},
        labels={"eurosat": {"train": [label_of[stem.split("_")[0]] for stem in stems]}},
        read=read,
        class_names=tuple(classes),
    )


def resisc45(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """A folder a class."""
    folder = files["NWPU-RESISC45/"]
    is_inside = inside_of(folder)
    paths = sorted(folder.glob("*/*.jpg"))
    for path in paths:
        if not path.is_file() or not is_inside(path):
            raise InputError(f"{path}: expected a picture inside {folder}; found something else")
    classes = sorted({path.parent.name for path in paths})
    label_of = _indices(classes)

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        for index in wanted.get("train", ()):
            yield "train", index, paths[index].read_bytes()

    return Opened(
        keys={"train": [f"{path.parent.name}_{path.name}" for path in paths]},
        labels={"resisc45": {"train": [label_of[path.parent.name] for path in paths]}},
        read=read,
        class_names=tuple(classes),
    )


def retinopathy(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """Kaggle's folders of pictures; the labels of its test set were published afterwards."""
    rows: dict[str, list[tuple[str, int]]] = {"train": [], "validation": [], "test": []}
    with files["trainLabels.csv"].open(newline="", encoding="utf-8") as table:
        rows["train"] = [(row["image"], int(row["level"])) for row in csv.DictReader(table)]
    usage = {"Public": "validation", "Private": "test"}
    with files["retinopathy_solution.csv"].open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            rows[usage[row["Usage"]]].append((row["image"], int(row["level"])))
    folders = {"train": files["train/"], "validation": files["test/"], "test": files["test/"]}

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        for split, indices in wanted.items():
            for index in indices:
                picture = folders[split] / f"{rows[split][index][0]}.jpeg"
                if not picture.is_file() or not picture.resolve().is_relative_to(folders[split].resolve()):
                    raise InputError(f"diabetic_retinopathy: expected a picture {picture}; found none")
                yield split, index, picture.read_bytes()

    return Opened(
        keys={split: [name for name, _ in part] for split, part in rows.items()},
        labels={"diabetic_retinopathy": {s: [level for _, level in part] for s, part in rows.items()}},
        read=read,
        process=processing.retinopathy,
    )
