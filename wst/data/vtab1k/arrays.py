"""Data sets that come as arrays: CIFAR-100, SVHN, PatchCamelyon, dSprites and small NORB."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import numpy as np

from wst.data.vtab1k import labels
from wst.data.vtab1k.formats import norb_matrix, pick, tar_members, unpacked
from wst.data.vtab1k.opened import Opened, Payload, Wanted
from wst.data.vtab1k.sources import SOURCES
from wst.errors import InputError

_BLOCK = 8192


def _from_memory(images: Mapping[str, np.ndarray], wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
    for split, indices in wanted.items():
        for index in indices:
            yield split, index, images[split][index]


def cifar100(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """Records of a coarse label, a fine label, and 3 x 32 x 32 pixels."""
    archive = files["cifar-100-binary.tar.gz"]
    names = {f"cifar-100-binary/{name}": name for name in ("train.bin", "test.bin", "fine_label_names.txt")}
    content = dict(pick(tar_members(archive), names, archive))
    records = {
        split: np.frombuffer(content[f"{split}.bin"], np.uint8).reshape(-1, 3074)
        for split in ("train", "test")
    }
    images = {s: r[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for s, r in records.items()}
    return Opened(
        keys={split: range(len(part)) for split, part in records.items()},
        labels={"cifar_100": {split: part[:, 1] for split, part in records.items()}},
        read=lambda wanted: _from_memory(images, wanted),
        class_names=tuple(content["fine_label_names.txt"].decode().split()),
    )


def svhn(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """MATLAB files with ``X`` (32, 32, 3, N) and ``y`` (N, 1), where 10 stands for the digit 0."""
    from scipy.io import loadmat

    contents = {split: loadmat(files[f"{split}_32x32.mat"]) for split in ("train", "test")}
    images = {split: content["X"].transpose(3, 0, 1, 2) for split, content in contents.items()}
    return Opened(
        keys={split: range(len(part)) for split, part in images.items()},
        labels={"svhn": {split: content["y"].ravel() % 10 for split, content in contents.items()}},
        read=lambda wanted: _from_memory(images, wanted),
        class_names=tuple(map(str, range(10))),
    )


def patch_camelyon(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """HDF5 files, gzip-compressed as a whole: ``x`` (N, 96, 96, 3) and ``y`` (N, 1, 1, 1)."""
    h5py = _h5py()
    splits = {"train": "train", "validation": "valid", "test": "test"}
    beside = files["camelyonpatch_level_2_split_train_x.h5.gz"].parent
    work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".wst-", dir=beside)))

    def unpacked_part(part: str) -> Path:
        target = work / f"{part}.h5"
        if not target.is_file():
            with target.open("wb") as file:
                for piece in unpacked(files[f"camelyonpatch_level_2_split_{part}.h5.gz"]):
                    file.write(piece)
        return target

    targets = {}
    for split, name in splits.items():
        with h5py.File(unpacked_part(f"{name}_y")) as file:
            targets[split] = np.asarray(file["y"]).ravel().astype(np.int64)

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        for split, indices in wanted.items():
            packed = unpacked_part(f"{splits[split]}_x")
            with h5py.File(packed) as file:
                for index, pixels in _rows(file["x"], indices):
                    yield split, index, pixels
            packed.unlink()

    return Opened(
        keys={s: [f"{name}_{i}" for i in range(len(targets[s]))] for s, name in splits.items()},
        labels={"patch_camelyon": targets},
        read=read,
        class_names=("no tumour", "tumour"),
    )


def dsprites(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """One HDF5 file: ``imgs`` (N, 64, 64) of zeros and ones, and the latents' classes (N, 6)."""
    (file,) = files.values()
    content = stack.enter_context(_h5py().File(file))
    latents = np.asarray(content["latents"]["classes"])

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        for split, indices in wanted.items():
            for index, pixels in _rows(content["imgs"], indices):
                yield split, index, pixels * np.uint8(255)

    return Opened(
        keys={"train": range(len(latents))},
        labels={
            "dsprites_loc": {"train": labels.dsprites_location(latents[:, 4])},
            "dsprites_ori": {"train": labels.dsprites_orientation(latents[:, 3])},
        },
        read=read,
    )


def smallnorb(files: Mapping[str, Path], stack: ExitStack, manifest: Path | None) -> Opened:
    """NORB matrices: images (N, 2, 96, 96), of which the first camera's count, and ``info`` (N, 4)."""
    found: dict[str, dict[str, Path]] = {"train": {}, "test": {}}
    for archive in SOURCES["smallnorb"].archives:
        split = "train" if "-training-" in archive.name else "test"
        found[split]["dat" if "-dat." in archive.name else "info"] = files[archive.name]
    info = {split: norb_matrix(parts["info"]) for split, parts in found.items()}

    def read(wanted: Wanted) -> Iterator[tuple[str, int, Payload]]:
        for split, indices in wanted.items():
            images = norb_matrix(found[split]["dat"])
            for index in indices:
                yield split, index, images[index, 0]

    return Opened(
        keys={split: range(len(part)) for split, part in info.items()},
        labels={
            "smallnorb_azi": {split: labels.smallnorb_azimuth(part[:, 2]) for split, part in info.items()},
            "smallnorb_ele": {split: part[:, 1] for split, part in info.items()},
        },
        read=read,
    )


def _rows(array: np.ndarray, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of an HDF5 array, read in blocks, since single rows of a compressed array are slow."""
    in_order = sorted(indices)
    position = 0
    while position < len(in_order):
        start = in_order[position] // _BLOCK * _BLOCK
        block = np.asarray(array[start : start + _BLOCK])
        while position < len(in_order) and in_order[position] < start + _BLOCK:
            yield in_order[position], block[in_order[position] - start]
            position += 1


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise InputError(
            "h5py: expected it for HDF5 archives; found none installed (pip install 'wst[build]')"
        ) from None
    module: ModuleType = h5py
    return module
