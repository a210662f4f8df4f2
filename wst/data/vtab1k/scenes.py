"""Data sets whose labels are computed from annotations of scenes: CLEVR, KITTI and DMLab."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from wst.data.vtab1k import labels
from wst.data.vtab1k.formats import (
    example_features,
    open_zip,
    pick_zip,
    tar_members,
    tfrecords,
    zip_member,
)
from wst.data.vtab1k.opened import Opened, Payload, Wanted
from wst.errors import InputError

_KITTI_SEED = 123


def clevr(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """A zip archive of pictures, and a JSON file of scenes a split; both are matched by their order."""
    file = files["CLEVR_v1.0.zip"]
    archive = stack.enter_context(open_zip(file))
    names: dict[str, list[str]] = {}
    count: dict[str, list[int]] = {}
    distance: dict[str, list[int]] = {}
    for split, part in (("train", "train"), ("validation", "val")):
        folder = f"CLEVR_v1.0/images/{part}/"
        names[split] = sorted(n for n in archive.namelist() if n.startswith(folder) and n.endswith(".png"))
        annotations = json.loads(zip_member(archive, f"CLEVR_v1.0/scenes/CLEVR_{part}_scenes.json", file))
        scenes = [scene["objects"] for scene in annotations["scenes"]]
        if len(scenes) != len(names[split]):
            raise InputError(f"{file}: {part}: expected {len(scenes)} pictures; found {len(names[split])}")
        count[split] = [labels.clevr_count(len(objects)) for objects in scenes]
        distance[split] = [labels.clevr_distance([o["pixel_coords"][2] for o in scene]) for scene in scenes]

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        members = {names[split][i]: (split, i) for split, indices in wanted.items() for i in indices}
        for (split, index), content in pick_zip(archive, members, file):
            yield split, index, content

    return Opened(
        keys={split: [name.rpartition("/")[2] for name in part] for split, part in names.items()},
        labels={"clevr_count": count, "clevr_dist": distance},
        read=read,
    )


def kitti_splits(rand: str, mapping: str) -> dict[str, list[int]]:
    """Image numbers of each split: whole drives go to one split, as TensorFlow Datasets draws them.

    Args:
        rand: ``mapping/train_rand.txt`` of the development kit: for each image a line number from 1.
        mapping: ``mapping/train_mapping.txt``: lines ``date drive frame``.
    """
    drives = [line.split(" ")[1] for line in mapping.splitlines()]
    images: dict[str, list[int]] = {}
    for image, line in enumerate(rand.split(",")):
        images.setdefault(drives[int(line) - 1], []).append(image)
    count = max(1, len(images) // 10)
    generator = np.random.RandomState(_KITTI_SEED)
    test = set(generator.choice(sorted(images), count, replace=False))
    validation = set(generator.choice(sorted(set(images) - test), count, replace=False))
    splits: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for drive, members in images.items():
        splits["test" if drive in test else "validation" if drive in validation else "train"] += members
    return splits


def kitti(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """Zip archives of pictures, of label files, and of the development kit that knows the drives."""
    devkit = stack.enter_context(open_zip(files["devkit_object.zip"]))
    annotations = stack.enter_context(open_zip(files["data_object_label_2.zip"]))
    pictures = stack.enter_context(open_zip(files["data_object_image_2.zip"]))
    numbers = kitti_splits(
        *(
            zip_member(devkit, f"mapping/{name}.txt", files["devkit_object.zip"]).decode()
            for name in ("train_rand", "train_mapping")
        )
    )

    def label(image: int) -> int:
        table = zip_member(annotations, f"training/label_2/{image:06d}.txt", files["data_object_label_2.zip"])
        return labels.kitti_distance(table.decode())

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        members = {
            f"training/image_2/{numbers[split][i]:06d}.png": (split, i)
            for split, indices in wanted.items()
            for i in indices
        }
        for (split, index), content in pick_zip(pictures, members, files["data_object_image_2.zip"]):
            yield split, index, content

    return Opened(
        keys={split: [f"{number:06d}.png" for number in part] for split, part in numbers.items()},
        labels={"kitti": {split: [label(number) for number in part] for split, part in numbers.items()}},
        read=read,
        class_names=("up to 8 m", "up to 20 m", "farther", "no vehicle"),
    )


def dmlab(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """TFRecord files inside a tar archive; each record has picture, name and label."""
    archive = files["dmlab.tar.gz"]

    def records() -> Iterator[tuple[str, dict[str, bytes | int]]]:
        for name, content in tar_members(archive):
            for split in ("train", "validation", "test"):
                if name.rpartition("/")[2].startswith(f"dmlab-{split}.tfrecord"):
                    for record in tfrecords(content):
                        yield split, example_features(record)

    keys: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    targets: dict[str, list[int]] = {split: [] for split in keys}
    for split, features in records():
        name, label = features["filename"], features["label"]
        keys[split].append(name.decode() if isinstance(name, bytes) else str(name))
        targets[split].append(int(label))

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        chosen = {split: set(indices) for split, indices in wanted.items()}
        position = dict.fromkeys(keys, 0)
        for split, features in records():
            index = position[split]
            position[split] += 1
            picture = features["image"]
            if index in chosen.get(split, ()) and isinstance(picture, bytes):
                yield split, index, picture

    return Opened(keys=keys, labels={"dmlab": targets}, read=read)
