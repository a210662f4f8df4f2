"""Small archives in the original formats of VTAB-1K's 16 data sets, with what must come out of them.

The truth is written down while the archives are made, so that a test compares two independent ways from
annotation to label and from archive to pixels.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from wst.data.suites import find_suite
from wst.data.tasks import Suite
from wst.data.vtab1k import pictures, processing
from wst.data.vtab1k.builder import OPENERS
from wst.data.vtab1k.opened import Opened, Opener
from wst.data.vtab1k.sources import SOURCES, Source
from wst.data.vtab1k.tfds_order import CUTS

TRAIN, VAL = 12, 4
EYE = 30
"""Radius in pixels that the mock eyes are scaled to; 300 in earnest, which takes long."""


@dataclass
class Example:
    """One image of a mock data set: its key, its label in each task, its RGB pixels (None: not compared)."""

    key: str
    labels: dict[str, int]
    pixels: np.ndarray | None


Truth = dict[str, list[Example]]


def pixels_of(key: str, height: int, width: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def encoded(pixels: np.ndarray, form: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def _tar(file: Path | io.BytesIO, members: dict[str, bytes], mode: str = "w:gz") -> None:
    where = {"name": file} if isinstance(file, Path) else {"fileobj": file}
    with tarfile.open(mode=mode, **where) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _zip(file: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def caltech101(folder: Path) -> Truth:
    names = ["BACKGROUND_Google", "Faces", "Faces_easy", "ant"]
    label = {"ant": 0, "BACKGROUND_Google": 1, "Faces": 2, "Faces_easy": 3}
    members, examples = {"101_ObjectCategories/BACKGROUND_Google/tmp": b"stray"}, []
    for name in names:
        for number in range(1, 8):
            key = f"{name}/image_{number:04d}.jpg"
            content = encoded(pixels_of(key, 20, 30))
            members[f"101_ObjectCategories/{key}"] = content
            examples.append(Example(key, {"caltech101": label[name]}, decoded(content)))
    inner = io.BytesIO()
    _tar(inner, members)
    _zip(folder / "caltech-101.zip", {"caltech-101/101_ObjectCategories.tar.gz": inner.getvalue()})
    order = np.random.RandomState(0).permutation(len(examples))
    drawn = [examples[i] for i in order]
    parts = {"train": drawn[:TRAIN], "val": drawn[TRAIN : TRAIN + VAL], "test": drawn[TRAIN + VAL :]}
    lines = [f"{part} {example.key}\n" for part, members_ in parts.items() for example in members_]
    (folder / "manifest.txt").write_text("".join(lines))
    return parts


def cifar100(folder: Path) -> Truth:
    truth, members = (
        {},
        {"cifar-100-binary/fine_label_names.txt": b"\n".join(b"name%d" % i for i in range(100))},
    )
    for split, count in (("train", 40), ("test", 10)):
        truth[split], records = [], []
        for index in range(count):
            pixels = pixels_of(f"cifar {split} {index}", 32, 32)
            fine = (7 * index) % 100
            records.append(bytes([index % 20, fine]) + pixels.transpose(2, 0, 1).tobytes())
            truth[split].append(Example(str(index), {"cifar_100": fine}, pixels))
        members[f"cifar-100-binary/{split}.bin"] = b"".join(records)
    _tar(folder / "cifar-100-binary.tar.gz", members)
    return truth


def dtd(folder: Path) -> Truth:
    truth: Truth = {}
    members: dict[str, bytes] = {}
    lists = {"train": ("train1", 20), "validation": ("val1", 10), "test": ("test1", 9)}
    for split, (name, count) in lists.items():
        truth[split] = []
        for index in range(count):
            label = index % 3
            texture = ("banded", "dotted", "woven")[label]
            key = f"{texture}/{texture}_{split[:2]}{index:04d}.jpg"
            members[f"dtd/images/{key}"] = encoded(pixels_of(key, 24, 20))
            truth[split].append(Example(key, {"dtd": label}, decoded(members[f"dtd/images/{key}"])))
        lines = "".join(f"{example.key}\n" for example in truth[split])
        members[f"dtd/labels/{name}.txt"] = lines.encode()
    members["dtd/labels/train2.txt"] = b"banded/other.jpg\n"
    _tar(folder / "dtd-r1.0.1.tar.gz", members)
    return truth


def flowers102(folder: Path) -> Truth:
    from scipy.io import savemat

    labels = np.array([[1 + (5 * i) % 102 for i in range(37)]], np.uint8)
    numbers = np.random.RandomState(1).permutation(37) + 1
    sets = {"trnid": numbers[:15], "valid": numbers[15:25], "tstid": numbers[25:]}
    savemat(folder / "imagelabels.mat", {"labels": labels})
    savemat(folder / "setid.mat", {name: part[None].astype(np.uint16) for name, part in sets.items()})
    members = {f"jpg/image_{n:05d}.jpg": encoded(pixels_of(f"flower {n}", 30, 25)) for n in range(1, 38)}
    _tar(folder / "102flowers.tgz", members)
    return {
        split: [
            Example(
                f"image_{n:05d}.jpg",
                {"flowers102": (5 * (int(n) - 1)) % 102},
                decoded(members[f"jpg/image_{n:05d}.jpg"]),
            )
            for n in sets[name]
        ]
        for split, name in (("train", "trnid"), ("validation", "valid"), ("test", "tstid"))
    }


def pets(folder: Path) -> Truth:
    breeds = ["Abyssinian", "american_bulldog", "Bengal"]
    truth: Truth = {"train": [], "test": []}
    members: dict[str, bytes] = {}
    lines: dict[str, str] = {"train": "", "test": ""}
    for split, count in (("train", 30), ("test", 9)):
        for index in range(count):
            label = index % 3
            name = f"{breeds[label]}_{split[1]}{index}"
            form = "GIF" if index == 0 else "PNG" if index == 1 else "JPEG"  # all of them are called .jpg
            members[f"images/{name}.jpg"] = encoded(pixels_of(name, 21, 22), form)
            lines[split] += f"{name} {label + 1} 1 1\n"
            pixels = decoded(members[f"images/{name}.jpg"])
            truth[split].append(Example(f"{name}.jpg", {"pets": label}, pixels))
    _tar(folder / "images.tar.gz", members, "w")  # as the real one: not compressed in spite of its name
    annotations = {
        f"annotations/{n}.txt": lines[s].encode() for s, n in (("train", "trainval"), ("test", "test"))
    }
    _tar(folder / "annotations.tar.gz", annotations)
    return truth


def svhn(folder: Path) -> Truth:
    from scipy.io import savemat

    truth: Truth = {}
    for split, count in (("train", 40), ("test", 11)):
        images = [pixels_of(f"svhn {split} {index}", 32, 32) for index in range(count)]
        values = [1 + index % 10 for index in range(count)]  # 10 stands for 0
        truth[split] = [
            Example(str(i), {"svhn": 0 if value == 10 else value}, image)
            for i, (image, value) in enumerate(zip(images, values, strict=True))
        ]
        content = {"X": np.stack(images, axis=3), "y": np.array(values, np.uint8)[:, None]}
        savemat(folder / f"{split}_32x32.mat", content)
    return truth


def sun397(folder: Path) -> Truth:
    members: dict[str, bytes] = {"SUN397/README.txt": b"not a picture"}
    truth: Truth = {"train": [], "validation": [], "test": []}
    marks = {"train": "", "validation": " v", "test": " t"}
    lines = ["# a partition"]
    number = 0
    for label, place in enumerate(("/a/abbey", "/c/church/indoor", "/c/church/outdoor")):
        lines.append(place)
        for split, count in (("train", 6), ("validation", 3), ("test", 3)):
            for _ in range(count):
                name = f"x{number}"
                number += 1
                key = f"{place}/sun_{name}.jpg"
                height, width = (400, 500) if number % 6 == 0 else (30, 40)
                content = encoded(pixels_of(key, height, width))
                members[f"SUN397{key}"] = content
                lines.append(name + marks[split])
                pixels = decoded(processing.sun397(content))
                truth[split].append(Example(key, {"sun397": label}, pixels))
    _tar(folder / "SUN397.tar.gz", members)
    (folder / "partition.xz").write_bytes(lzma.compress(("\n".join(lines) + "\n").encode()))
    return truth


def patch_camelyon(folder: Path) -> Truth:
    import h5py

    truth: Truth = {}
    for split, name, count in (("train", "train", 20), ("validation", "valid", 10), ("test", "test", 8)):
        images = [pixels_of(f"pcam {name} {index}", 96, 96) for index in range(count)]
        labels = [(index // 2) % 2 for index in range(count)]
        arrays = {"x": np.stack(images), "y": np.array(labels, np.uint8).reshape(-1, 1, 1, 1)}
        for part, array in arrays.items():
            plain = folder / "plain.h5"
            with h5py.File(plain, "w") as file:
                file[part] = array
            packed = folder / f"camelyonpatch_level_2_split_{name}_{part}.h5.gz"
            packed.write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
        truth[split] = [
            Example(f"{name}_{i}", {"patch_camelyon": labels[i]}, image) for i, image in enumerate(images)
        ]
    return truth


def eurosat(folder: Path) -> Truth:
    classes = ["AnnualCrop", "Forest", "Highway", "River", "SeaLake"]
    members, examples = {}, []
    for label, name in enumerate(classes):
        for number in range(1, 11):
            member = f"2750/{name}/{name}_{number}.jpg"
            members[member] = encoded(pixels_of(member, 64, 64))
            examples.append(
                Example(f"{name}_{name}_{number}.jpg", {"eurosat": label}, decoded(members[member]))
            )
    _zip(folder / "EuroSAT.zip", members)
    return {"train": examples}


def resisc45(folder: Path) -> Truth:
    examples = []
    for label, name in enumerate(["airplane", "baseball_diamond", "snowberg"]):
        (folder / "NWPU-RESISC45" / name).mkdir(parents=True)
        for number in range(1, 18):
            content = encoded(pixels_of(f"{name}{number}", 32, 32))
            (folder / "NWPU-RESISC45" / name / f"{name}_{number:03d}.jpg").write_bytes(content)
            key = f"{name}_{name}_{number:03d}.jpg"
            examples.append(Example(key, {"resisc45": label}, decoded(content)))
    return {"train": examples}


def retinopathy(folder: Path) -> Truth:
    truth: Truth = {"train": [], "validation": [], "test": []}
    rows: dict[str, list[tuple[str, int, str]]] = {"train": [], "test": []}
    for split, kaggle, usage, count in (
        ("train", "train", "", 14),
        ("test", "test", "Private", 5),
        ("validation", "test", "Public", 6),
    ):
        (folder / kaggle).mkdir(exist_ok=True)
        for index in range(count):
            name, level = f"{split[:2]}{index}_left", index % 5
            eye = np.zeros((60, 80, 3), np.uint8)
            rows_, columns = np.ogrid[:60, :80]
            inside = (rows_ - 30) ** 2 + (columns - 40) ** 2 <= (20 + index) ** 2
            eye[inside] = pixels_of(name, 60, 80)[inside] // 2 + 60
            content = encoded(eye)
            (folder / kaggle / f"{name}.jpeg").write_bytes(content)
            rows[kaggle].append((name, level, usage))
            pixels = decoded(processing.retinopathy(content, EYE))
            truth[split].append(Example(name, {"diabetic_retinopathy": level}, pixels))
    with (folder / "trainLabels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "level"), *((n, level) for n, level, _ in rows["train"])])
    with (folder / "retinopathy_solution.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "level", "Usage"), *rows["test"]])
    return truth


def clevr(folder: Path) -> Truth:
    # (depths of the objects, label by number, label by distance): worked out by hand
    cases = [
        ([8.0, 9.0, 12.0], 0, 0),
        ([8.01, 9.0, 12.0, 11.0], 1, 1),
        ([8.5, 12.0, 13.0, 9.5, 10.0], 2, 1),
        ([9.0, 9.7, 12.0], 0, 2),
        ([9.2, 9.3, 9.4, 9.5, 9.6, 9.7, 9.8, 9.9, 10.0, 10.1], 7, 3),
        ([10.0, 12.0, 13.0], 0, 4),
        ([10.5, 12.0, 13.0, 14.0, 15.0, 16.0], 3, 5),
    ]
    members: dict[str, bytes] = {}
    truth: Truth = {"train": [], "validation": []}
    for split, part, count in (("train", "train", 40), ("validation", "val", 10)):
        scenes = []
        for index in range(count):
            depths, by_count, by_distance = cases[index % len(cases)]
            scenes.append({"objects": [{"pixel_coords": [1, 2, depth]} for depth in depths]})
            key = f"CLEVR_{part}_{index:06d}.png"
            pixels = pixels_of(key, 20, 30)
            members[f"CLEVR_v1.0/images/{part}/{key}"] = encoded(pixels, "PNG")
            labels = {"clevr_count": by_count, "clevr_dist": by_distance}
            truth[split].append(Example(key, labels, pixels))
        scene_file = f"CLEVR_v1.0/scenes/CLEVR_{part}_scenes.json"
        members[scene_file] = json.dumps({"scenes": scenes}).encode()
    shuffled = dict(sorted(members.items(), key=lambda item: hashlib.md5(item[0].encode()).digest()))
    _zip(folder / "CLEVR_v1.0.zip", shuffled)
    return truth


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def tf_example(features: dict[str, bytes | int]) -> bytes:
    """A serialised ``tf.train.Example``; integers packed, as TensorFlow writes them."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = _field(1, _field(1, value))
        else:
            feature = _field(3, _field(1, _varint(value)))
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def tf_record(data: bytes) -> bytes:
    return struct.pack("<QI", len(data), 0) + data + struct.pack("<I", 0)


def dmlab(folder: Path) -> Truth:
    truth: Truth = {}
    members: dict[str, bytes] = {}
    for split, count in (("train", 15), ("validation", 8), ("test", 7)):
        truth[split] = []
        for shard in range(2):
            records = b""
            for index in range(shard, count, 2):
                key = f"video_{split}_{index}.jpg"
                content = encoded(pixels_of(key, 36, 48))
                features = {"image": content, "filename": key.encode(), "label": index % 6}
                records += tf_record(tf_example(features))
                truth[split].append(Example(key, {"dmlab": index % 6}, decoded(content)))
            members[f"dmlab-{split}.tfrecord-0000{shard}-of-00002"] = records
    _tar(folder / "dmlab.tar.gz", members)
    return truth


def kitti(folder: Path) -> Truth:
    def row(kind: str, z: float) -> str:
        return f"{kind} 0.00 0 1.5 1.0 2.0 3.0 4.0 1.5 1.6 4.0 -1.0 1.6 {z:.2f} 1.5"

    # (annotations, label): worked out by hand
    cases = [
        ([row("Car", 8.0), row("Van", 30.0)], 0),
        ([row("Truck", 8.01), row("Pedestrian", 2.0)], 1),
        ([row("Van", 20.0)], 1),
        ([row("Car", 20.01), row("Cyclist", 5.0)], 2),
        ([row("Tram", 4.0), row("Misc", 3.0), row("DontCare", -1000.0)], 3),
        ([row("Car", -2.5)], 0),
    ]
    count = 60
    generator = np.random.RandomState(5)
    # Drives of the images in the order of the mapping file, two to four images a drive.
    mapping = [f"2011_09_26 2011_09_26_drive_{line % 20:04d}_sync {line:010d}" for line in range(count)]
    rand = generator.permutation(count) + 1
    drive_of = [mapping[line - 1].split()[1] for line in rand]
    drives = sorted(set(drive_of))
    legacy = np.random.RandomState(123)
    test = set(legacy.choice(drives, 2, replace=False))
    validation = set(legacy.choice(sorted(set(drives) - test), 2, replace=False))
    truth: Truth = {"train": [], "validation": [], "test": []}
    pictures_, labels = {"testing/image_2/000000.png": b"unused"}, {}
    for image in range(count):
        annotations, label = cases[image % len(cases)]
        pixels = pixels_of(f"kitti {image}", 12, 40)
        pictures_[f"training/image_2/{image:06d}.png"] = encoded(pixels, "PNG")
        labels[f"training/label_2/{image:06d}.txt"] = "\n".join(annotations).encode()
        drive = drive_of[image]
        split = "test" if drive in test else "validation" if drive in validation else "train"
        truth[split].append(Example(f"{image:06d}.png", {"kitti": label}, pixels))
    _zip(folder / "data_object_image_2.zip", pictures_)
    _zip(folder / "data_object_label_2.zip", labels)
    devkit = {"train_rand": ",".join(map(str, rand)), "train_mapping": "\n".join(mapping)}
    _zip(folder / "devkit_object.zip", {f"mapping/{n}.txt": text.encode() for n, text in devkit.items()})
    return truth


def dsprites(folder: Path) -> Truth:
    import h5py

    generator = np.random.RandomState(6)
    images = generator.randint(0, 2, (60, 64, 64)).astype(np.uint8)
    classes = np.zeros((60, 6), np.int64)
    classes[:, 3] = np.arange(60) % 40
    classes[:, 4] = (np.arange(60) * 7) % 32
    with h5py.File(folder / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5", "w") as file:
        file.create_dataset("imgs", data=images, compression="gzip")
        file["latents/classes"] = classes
        file["latents/values"] = classes.astype(np.float64)
    # 40 orientations: 3, 2, 3, 2, ... of them to a class
    of_orientation = [c for c in range(16) for _ in range(3 if c % 2 == 0 else 2)]
    return {
        "train": [
            Example(
                str(index),
                {
                    "dsprites_loc": int(classes[index, 4]) // 2,
                    "dsprites_ori": of_orientation[int(classes[index, 3])],
                },
                np.repeat(images[index][..., None] * np.uint8(255), 3, axis=2),
            )
            for index in range(60)
        ]
    }


def _norb_bytes(array: np.ndarray) -> bytes:
    magic = 0x1E3D4C55 if array.dtype == np.uint8 else 0x1E3D4C54
    shape = [*array.shape, 1, 1][: max(3, array.ndim)]
    return gzip.compress(struct.pack(f"<iI{len(shape)}i", magic, array.ndim, *shape) + array.tobytes())


def smallnorb(folder: Path) -> Truth:
    truth: Truth = {}
    for split, prefix, count in (
        ("train", "smallnorb-5x46789x9x18x6x2x96x96-training-", 20),
        ("test", "smallnorb-5x01235x9x18x6x2x96x96-testing-", 16),
    ):
        images = np.random.RandomState(count).randint(0, 256, (count, 2, 96, 96)).astype(np.uint8)
        info = np.stack([np.arange(count) % n for n in (5, 9, 18, 6)], axis=1).astype("<i4")
        info[:, 2] *= 2  # azimuths are stored as 0, 2, ..., 34
        (folder / f"{prefix}dat.mat.gz").write_bytes(_norb_bytes(images))
        (folder / f"{prefix}info.mat.gz").write_bytes(_norb_bytes(info))
        truth[split] = [
            Example(
                str(i),
                {"smallnorb_azi": i % 18, "smallnorb_ele": i % 9},
                np.repeat(images[i, 0][..., None], 3, axis=2),
            )
            for i in range(count)
        ]
    return truth


def _small_eyes(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    process = partial(processing.retinopathy, radius=EYE)
    return replace(pictures.retinopathy(files, stack, manifest), process=process)


MAKERS: dict[str, Callable[[Path], Truth]] = {
    "caltech101": caltech101,
    "cifar100": cifar100,
    "dtd": dtd,
    "oxford_flowers102": flowers102,
    "oxford_iiit_pet": pets,
    "svhn_cropped": svhn,
    "sun397": sun397,
    "patch_camelyon": patch_camelyon,
    "eurosat": eurosat,
    "resisc45": resisc45,
    "diabetic_retinopathy_detection": retinopathy,
    "clevr": clevr,
    "dmlab": dmlab,
    "kitti": kitti,
    "dsprites": dsprites,
    "smallnorb": smallnorb,
}


@dataclass
class Mock:
    """Archives of one data set below ``folder``, and what a build from them must give."""

    source: Source
    suite: Suite
    archives: Path
    truth: Truth
    opener: Opener
    manifest: Path | None


def make(name: str, folder: Path) -> Mock:
    """Write the mock archives of a data set to ``folder/<name>``."""
    (folder / name).mkdir(parents=True)
    truth = MAKERS[name](folder / name)
    full = find_suite("vtab1k")
    if name == "caltech101":
        test = len(truth["test"])
    else:
        piece = CUTS[name].test
        test = len(piece.of(len(truth[piece.split])))
    tasks = tuple(
        replace(task, train=TRAIN, val=VAL, test=test) for task in full.tasks if task.source == name
    )
    opener = OPENERS[name]
    if name == "sun397":
        opener = partial(pictures.sun397, partition=folder / name / "partition.xz")
    if name == "diabetic_retinopathy_detection":
        opener = _small_eyes
    archives = tuple(replace(archive, size=None, sha256=None) for archive in SOURCES[name].archives)
    manifest = folder / name / "manifest.txt" if name == "caltech101" else None
    source = replace(SOURCES[name], archives=archives)
    return Mock(source, replace(full, tasks=tasks), folder, truth, opener, manifest)
