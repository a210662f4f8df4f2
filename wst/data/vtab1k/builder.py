"""From archives to list files: cut, decode, write, verify; a build that was cut off goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wst.data.ahead import ahead
from wst.data.check.check import check_task
from wst.data.check.image_files import examine
from wst.data.check.report import TaskReport
from wst.data.decode import content_of
from wst.data.lists import CLASS_NAMES, VTAB_NAMES, Split
from wst.data.splits import TaskData
from wst.data.tasks import Suite, Task
from wst.data.vtab1k import archives, arrays, pictures, scenes
from wst.data.vtab1k.opened import Opened, Opener, Payload
from wst.data.vtab1k.sources import SOURCES, Source
from wst.data.vtab1k.tfds_order import CUTS, Chosen, cut
from wst.errors import InputError
from wst.files import locked, replacing
from wst.machine import usable_cpus

OPENERS: Mapping[str, Opener] = {
    "caltech101": pictures.caltech101,
    "cifar100": arrays.cifar100,
    "dtd": pictures.dtd,
    "oxford_flowers102": pictures.flowers102,
    "oxford_iiit_pet": pictures.pets,
    "svhn_cropped": arrays.svhn,
    "sun397": pictures.sun397,
    "patch_camelyon": arrays.patch_camelyon,
    "eurosat": pictures.eurosat,
    "resisc45": pictures.resisc45,
    "diabetic_retinopathy_detection": pictures.retinopathy,
    "clevr": scenes.clevr,
    "dmlab": scenes.dmlab,
    "kitti": scenes.kitti,
    "dsprites": arrays.dsprites,
    "smallnorb": arrays.smallnorb,
}
"""How each data set is opened, by its name in :mod:`wst.data.vtab1k.sources`."""

RECORD = "build.json"
BEGUN = ".building.json"
_log = logging.getLogger(__name__)
_PARTS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Options:
    """How to build.

    Attributes:
        original: keep the bytes of picture files instead of writing PNG; arrays become PNG in any case.
        manifest: caltech101's split.
        jobs: parallel threads; one a CPU when left out.
    """

    original: bool = False
    manifest: Path | None = None
    jobs: int | None = None

    def settings(self, source: Source) -> dict[str, Any]:
        """What makes two builds of a data set the same."""
        manifest = self.manifest if source.name == "caltech101" else None
        return {
            "source": source.name,
            "encoding": "original" if self.original else "png",
            "manifest": hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest else None,
        }


@dataclass(frozen=True)
class Progress:
    """Where a build reports to: what it does, how many images there are, how many more are done."""

    say: Callable[[str], None] = lambda text: None
    total: Callable[[int], None] = lambda count: None
    done: Callable[[int], None] = lambda count: None


@dataclass(frozen=True)
class Built:
    """One task that is there now.

    Attributes:
        made: False if it had been built before.
        record: what its ``build.json`` holds.
    """

    task: str
    folder: Path
    made: bool
    record: dict[str, Any]


def build_source(
    source: Source,
    suite: Suite,
    tasks: Sequence[Task],
    root: Path,
    files: Path,
    options: Options | None = None,
    progress: Progress | None = None,
    opener: Opener | None = None,
) -> list[Built]:
    """Build the tasks that come from one data set.

    Images are written one by one and renamed into place, the list files after all images, and ``build.json``
    after everything was read back and checked.  So a build that is cut off leaves nothing that looks whole,
    and the next one goes on with the images that are there.  Tasks that share images share the files (hard
    links, or copies where the file system has none).

    Args:
        source: the data set.
        suite: the suite that the tasks belong to; says how many images are expected.
        tasks: tasks of this data set.
        root: folder that will hold the suite's folder.
        files: folder with the archives.
        opener: how to open the data set, if not as usual.

    Raises:
        InputError: an archive is missing or damaged, or what came out is not as it must be.
    """
    options, progress = options or Options(), progress or Progress()
    settings = options.settings(source)
    here = [TaskData.of(root, suite, task) for task in tasks]
    # One process at a time builds the same data set here; the others wait.
    with locked(root / suite.folder / f".{source.name}.lock"):
        found = {data.task.name: _finished(data.folder, settings) for data in here}
        missing = [data for data in here if found[data.task.name] is None]
        made: dict[str, dict[str, Any]] = {}
        if missing:
            with ExitStack() as stack:
                paths = archives.find(source, files)
                sums = archives.verify(source, paths, progress.say)
                progress.say(f"{source.name}: reading annotations")
                opened = (opener or OPENERS[source.name])(paths, stack, options.manifest)
                family = [TaskData.of(root, suite, t) for t in suite.tasks if t.source == source.name]
                _write(source, opened, missing, family, options, progress)
                reports = [_read_back(data, options, progress) for data in missing]
                # What an earlier build left, spoilt by a loss of power, is written again.
                if sum(map(_remove_unreadable, missing, reports)):
                    _write(source, opened, missing, family, options, progress)
                    reports = [_read_back(data, options, progress) for data in missing]
            for data, report in zip(missing, reports, strict=True):
                made[data.task.name] = _finish(data, report, settings, sums)
    return [
        Built(
            data.task.name,
            data.folder,
            data.task.name in made,
            found[data.task.name] or made[data.task.name],
        )
        for data in here
    ]


def _parts(source: Source, opened: Opened, task: Task) -> Mapping[str, Sequence[Chosen]]:
    if opened.parts is None:
        return cut(CUTS[source.name], opened.keys, task.train, task.val, task.test)
    for part, count in zip(_PARTS, (task.train, task.val, task.test), strict=True):
        if len(opened.parts[part]) != count:
            raise InputError(f"manifest: expected {count} images of {part}; found {len(opened.parts[part])}")
    return opened.parts


def _write(
    source: Source,
    opened: Opened,
    tasks: Sequence[TaskData],
    family: Sequence[TaskData],
    options: Options,
    progress: Progress,
) -> None:
    """Images and list files of the tasks, which share the images among them and with all of their family."""
    parts = _parts(source, opened, tasks[0].task)
    ending = ".jpg" if options.original and source.lossy else ".png"
    names = {
        (chosen.split, chosen.index): f"images/{VTAB_NAMES[part]}/{rank:06d}{ending}"
        for part in _PARTS
        for rank, chosen in enumerate(parts[part])
    }
    folders = [data.folder for data in tasks]
    for folder in folders:
        for part in _PARTS:
            (folder / "images" / VTAB_NAMES[part]).mkdir(parents=True, exist_ok=True)
        _replace(folder / BEGUN, json.dumps(options.settings(source)).encode())
    first, others = folders[0], folders[1:]
    sharing = [data.folder for data in family if _same_build(data.folder, options, source)]
    progress.total(len(names))
    wanted: dict[str, list[int]] = {}
    for (split, index), name in names.items():
        if (first / name).is_file() or _link(sharing, first, name):
            progress.done(1)
        else:
            wanted.setdefault(split, []).append(index)

    def store(split: str, index: int, payload: Payload) -> None:
        content = _encoded(payload, opened.process, options.original)
        # Tens of thousands, all of which are read back before the build counts: not flushed one by one.
        _replace(first / names[split, index], content, durable=False)

    progress.say(f"{source.name}: writing images")
    if wanted:
        _in_parallel(store, opened.read(wanted), options.jobs, progress.done)
    lacking = [name for name in names.values() if not (first / name).is_file()]
    if lacking:
        raise InputError(f"{source.name}: expected every image in the archives; found none for {lacking[0]}")
    for folder in others:
        for name in names.values():
            if not (folder / name).is_file():
                _link([first], folder, name)
    for data in tasks:
        _write_lists(data, opened, parts, names)


def _write_lists(
    data: TaskData,
    opened: Opened,
    parts: Mapping[str, Sequence[Chosen]],
    names: Mapping[tuple[str, int], str],
) -> None:
    labels = opened.labels[data.task.name]
    lines = {
        part: [f"{names[c.split, c.index]} {int(labels[c.split][c.index])}\n" for c in parts[part]]
        for part in _PARTS
    }
    lines["trainval"] = lines["train"] + lines["val"]
    if opened.class_names:
        _replace(data.folder / CLASS_NAMES, "".join(f"{name}\n" for name in opened.class_names).encode())
    for part, content in lines.items():
        _replace(data.folder / f"{VTAB_NAMES[part]}.txt", "".join(content).encode())


def _read_back(data: TaskData, options: Options, progress: Progress) -> TaskReport:
    progress.say(f"{data.task.name}: reading back")
    return check_task(data, options.jobs)


def _remove_unreadable(data: TaskData, report: TaskReport) -> int:
    """Remove the images of a build that do not decode; returns how many."""
    if not any(finding.kind == "unreadable" for finding in report.findings):
        return 0
    spoilt = [
        path
        for split in _PARTS
        for path in dict.fromkeys(data.list(split).images)
        if examine(content_of(path)).problem == "unreadable"
    ]
    for path in spoilt:
        path.unlink()
    return len(spoilt)


def _finish(
    data: TaskData, report: TaskReport, settings: dict[str, Any], sums: dict[str, str]
) -> dict[str, Any]:
    """Keep what was read back in ``build.json``."""
    if not report.usable:
        raise InputError(
            f"{data.task.name}: expected a usable task after the build; "
            f"found {'; '.join(map(str, report.findings))}"
        )
    record = {"settings": settings, "archives": sums, **describe(report)}
    _replace(data.folder / RECORD, json.dumps(record, indent=1).encode())
    (data.folder / BEGUN).unlink(missing_ok=True)
    return record


def describe(report: TaskReport) -> dict[str, Any]:
    """What ``build.json`` keeps of a check, and with what it was made."""
    found = report.as_record()
    kept = ("encoding", "image_size", "sizes", "histogram", "content", "pixels", "data_hash", "findings")
    return {
        **{name: found[name] for name in kept},
        "versions": {name: metadata.version(name) for name in ("wst", "pillow", "numpy")},
    }


def _finished(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a finished build of these settings, or None.

    A record that is empty or damaged is that of a build which goes on: it keeps the images that are whole,
    and writes everything else again.

    Raises:
        InputError: something else is there.
    """
    for file in (folder / RECORD, folder / BEGUN):
        if file.is_file():
            record = read_record(file)
            if record is None:
                return None
            found = record.get("settings", record if file.name == BEGUN else {})
            if found != settings:
                raise InputError(
                    f"{folder}: expected a build with the settings {json.dumps(settings)}; "
                    f"found {json.dumps(found)} (remove the folder to build it anew)"
                )
            return record if file.name == RECORD else None
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: expected no folder, or one made by this command; found other data "
            "(--from-folder adopts it)"
        )
    return None


def read_record(file: Path) -> dict[str, Any] | None:
    """What a build has noted down; None if it is damaged."""
    try:
        record = json.loads(file.read_bytes())
    except ValueError:
        record = None
    if not isinstance(record, dict):
        _log.warning("%s: expected the record of a build; found a damaged file: made again", file)
        return None
    return record


def _same_build(folder: Path, options: Options, source: Source) -> bool:
    for file in (folder / RECORD, folder / BEGUN):
        if file.is_file():
            record = read_record(file)
            return record is not None and record.get("settings", record) == options.settings(source)
    return False


def _encoded(payload: Payload, process: Callable[[bytes], bytes], original: bool) -> bytes:
    if isinstance(payload, bytes):
        payload = process(payload)
        if original:
            return payload
        with Image.open(BytesIO(payload)) as image:
            picture = image if image.mode == "L" else image.convert("RGB")
            picture.load()
    else:
        picture = Image.fromarray(np.ascontiguousarray(payload))
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _in_parallel(
    store: Callable[[str, int, Payload], None],
    examples: Iterator[tuple[str, int, Payload]],
    jobs: int | None,
    done: Callable[[int], None],
) -> None:
    """Store examples while the next are read; a few are in memory at a time."""

    def store_one(example: tuple[str, int, Payload]) -> None:
        split, index, payload = example
        try:
            store(split, index, payload)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"image {index} of {split!r}: expected a picture; found {error}") from error

    jobs = jobs or usable_cpus()
    with ThreadPoolExecutor(jobs) as pool:
        for _ in ahead(pool, store_one, examples, 4 * jobs):
            done(1)


def _replace(file: Path, content: bytes, durable: bool = True) -> None:
    with replacing(file, durable=durable) as aside:
        aside.write_bytes(content)


def _link(sources: Sequence[Path], folder: Path, name: str) -> bool:
    """Share a file that one of the sources has; False if none has it."""
    for source in sources:
        if source != folder and (source / name).is_file():
            link_or_copy(source / name, folder / name)
            return True
    return False


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    with replacing(target, durable=False) as aside:
        aside.unlink(missing_ok=True)
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)


def sources_of(tasks: Sequence[Task]) -> dict[Source, list[Task]]:
    """The data sets that tasks come from, with their tasks.

    Raises:
        InputError: a task has none that can be built.
    """
    found: dict[Source, list[Task]] = {}
    for task in tasks:
        if task.source not in SOURCES:
            raise InputError(f"task: expected one of VTAB-1K; found {task.name!r}")
        found.setdefault(SOURCES[task.source], []).append(task)
    return found
