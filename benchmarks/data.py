"""Input work a training epoch: torchvision's DataLoader beside this package's cache, in one run.

    python -m benchmarks.data                     # 1,000 JPEGs of 500 x 400 at 224, median of 7
    python -m benchmarks.data --memory 73728      # besides, peak memory while a test split streams through

(a) is what the authors' scripts do every epoch: a DataLoader with two workers that opens, decodes, resizes
and normalises each image.  (b) is the first epoch here: read, hash, decode, resize and store, then an epoch's
batches.  (c) is any later epoch: batches of the split that lies in memory; with and without normalising them,
which a trial does on the training device as part of its step.  No model runs.

Besides: what the check of the data costs a start of VTAB-1K's 19 tasks, the first time and when it has been
remembered, beside hashing alone, which a start did before there was a check.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.memory import peak
from benchmarks.pages import Page, table
from benchmarks.reference.images import Listed
from wst.data import cache
from wst.data.check.gate import look
from wst.data.decode import Preprocessing
from wst.data.lists import VTAB_NAMES, ImageList, read_file
from wst.data.splits import TaskData
from wst.data.suites import find_suite
from wst.training.batches import Normaliser

BATCH, SIZE, WIDTH, HEIGHT = 32, 224, 500, 400


def write_images(folder: Path, count: int) -> ImageList:
    """JPEGs with the detail of photographs: smooth noise at several scales."""
    generator = np.random.RandomState(0)
    (folder / "images").mkdir(parents=True)
    lines = []
    for index in range(count):
        pixels = np.zeros((HEIGHT, WIDTH, 3))
        for scale in (4, 16, 64):
            coarse = generator.randint(0, 256, (HEIGHT // scale + 1, WIDTH // scale + 1, 3)).astype(np.uint8)
            smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            pixels += np.asarray(smooth, float) * (scale / 84)
        name = f"images/{index:06d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name, quality=90)
        lines.append(f"{name} {index % 100}\n")
    (folder / "train800val200.txt").write_text("".join(lines))
    return read_file(folder / "train800val200.txt", 100)


def loader_epoch(listed: ImageList, device: str) -> Callable[[], None]:
    loader = DataLoader(Listed(listed, SIZE), BATCH, shuffle=True, num_workers=2, drop_last=False)

    def epoch() -> None:
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            assert images.shape[1:] == (3, SIZE, SIZE) and len(labels)

    return epoch


def our_epoch(images: torch.Tensor, labels: torch.Tensor, normalise: Normaliser | None) -> None:
    order = torch.randperm(len(labels)).to(images.device)
    for start in range(0, len(labels), BATCH):
        chosen = order[start : start + BATCH]
        batch = images.index_select(0, chosen)
        if normalise:
            batch = normalise(batch)
        assert batch.shape[1:] == (3, SIZE, SIZE) and len(labels.index_select(0, chosen))
    if images.is_cuda:
        torch.cuda.synchronize()


def opened(listed: ImageList, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    split = cache.load(listed, Preprocessing(SIZE))
    return torch.from_numpy(split.images).to(device), torch.from_numpy(split.labels).to(device)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(images: int, folder: Path) -> dict[str, float]:
    """Growth of the process while a split of so many images is decoded and streamed, in a fresh process."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", "--stream", str(images), "--folder", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return json.loads(out.splitlines()[-1])


def stream(images: int, folder: Path) -> None:
    """A split of 64 x 64 PNGs; they are links to a thousand files, which changes nothing for the reader."""
    generator = np.random.RandomState(1)
    (folder / "few").mkdir(parents=True)
    for index in range(1000):
        pixels = generator.randint(0, 2, (64, 64)).astype(np.uint8) * 255
        Image.fromarray(pixels).save(folder / "few" / f"{index}.png")
    paths = [folder / "few" / f"{index % 1000}.png" for index in range(images)]
    listed = ImageList(folder / "test.txt", tuple(paths), (0,) * images)
    before = peak()
    filling = seconds(lambda: cache.load(listed, Preprocessing(SIZE)))
    split = cache.load(listed, Preprocessing(SIZE))
    reading = seconds(lambda: sum(len(labels) for _, labels in split.batches(256)))
    grown = peak() - before
    print(
        json.dumps(
            {
                "images": images,
                "array_gb": split.nbytes / 1e9,
                "grown_mb": grown / 1e6,
                "fill_s": filling,
                "read_s": reading,
            }
        )
    )


def write_suite(root: Path, tasks: int, share: float) -> list[TaskData]:
    """Tasks of VTAB-1K's names with 800, 200 and 1,000 PNGs of 64 x 64 in train, val and test."""
    suite, written = find_suite("vtab1k"), []
    for number, named in enumerate(suite.tasks[:tasks]):
        train, val, test = (round(share * count) for count in (800, 200, 1000))
        task = replace(named, train=train, val=val, test=test)
        data = TaskData.of(root, suite, task)
        generator, lines = np.random.RandomState(number), {}
        for split, count in (("train", train), ("val", val), ("test", test)):
            (data.folder / split).mkdir(parents=True)
            lines[split] = []
            for index in range(count):
                pixels = generator.randint(0, 256, (64, 64, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(data.folder / split / f"{index:06d}.png", compress_level=1)
                lines[split].append(f"{split}/{index:06d}.png {index % task.classes}\n")
        lines["trainval"] = lines["train"] + lines["val"]
        for split, name in VTAB_NAMES.items():
            (data.folder / f"{name}.txt").write_text("".join(lines[split]))
        written.append(data)
    return written


def starts(folder: Path, tasks: int, share: float) -> list[str]:
    """What looking at the data costs a start, in words and a table."""
    data = write_suite(folder, tasks, share)
    first = seconds(lambda: look(data, whole=True))
    again, hashing = [], []
    for _ in range(5):
        again.append(seconds(lambda: look(data, whole=True)))
        hashing.append(seconds(lambda: [of.hashes() for of in data]))
    assert all(report.usable and report.whole for report in look(data))
    a, b = statistics.median(again), statistics.median(hashing)
    rows = [
        ["check, first start: every image read and decoded", f"{first:.2f}"],
        ["check, data checked before (median of 5)", f"{a:.2f}"],
        ["hashes alone, remembered: a start without a check (median of 5)", f"{b:.2f}"],
    ]
    sizes = ", ".join(f"{round(share * count):,}" for count in (800, 200, 1000))
    return [
        f"The data of a start: {tasks} tasks with {sizes} PNGs of 64 x 64 in train, val and test.",
        table(["", "seconds"], rows),
        f"A start on data that was checked before costs {a - b:+.2f} s beside one without a check: it gives "
        "the hashes as well.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="where training would run: cpu or cuda")
    parser.add_argument("--tasks", type=int, default=19, help="tasks of the start that is measured")
    parser.add_argument("--share", type=float, default=1.0, help="of their images")
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="also stream a test split of this size")
    if sys.argv[1:2] == ["--stream"]:
        stream(int(sys.argv[2]), Path(sys.argv[4]))
        return
    quick = {"images": 64, "repeats": 1, "memory": None, "tasks": 2, "share": 0.02}
    page = Page("Input work of a training epoch", parser, quick, ("torch", "torchvision", "pillow"))
    options = page.options
    with tempfile.TemporaryDirectory(prefix="wst-benchmark-") as name:
        folder = Path(name)
        os.environ["WST_CACHE"] = str(folder / "cache")
        listed = write_images(folder / "data", options.images)
        epoch = loader_epoch(listed, options.device)
        normalise = Normaliser([0.5] * 3, [0.5] * 3, SIZE, BATCH, torch.device(options.device))
        epoch()  # imports and page cache, for all three
        loaders, colds, warms, residents = [], [], [], []
        for _ in range(options.repeats):  # by turns, so that a busy spell hits all alike
            loaders.append(seconds(epoch))
            shutil.rmtree(folder / "cache", ignore_errors=True)
            colds.append(seconds(lambda: our_epoch(*opened(listed, options.device), normalise)))
            images, labels = opened(listed, options.device)
            warms.append(seconds(lambda i=images, n=labels: our_epoch(i, n, normalise)))
            residents.append(seconds(lambda i=images, n=labels: our_epoch(i, n, None)))
        reopened = seconds(lambda: opened(listed, options.device))
        checked = starts(folder / "suite", options.tasks, options.share)
        grown = peak_memory(options.memory, folder / "memory") if options.memory else None
    a, rows = statistics.median(loaders), []
    for text, values in (
        ("(a) torchvision transforms in a DataLoader, 2 workers", loaders),
        ("(b) ours cold: decoding into the cache, first epoch", colds),
        ("(c) ours warm: choosing the batches", residents),
        (f"(c) with normalising on {options.device} as well", warms),
    ):
        middle = statistics.median(values)
        rows.append([text, f"{middle:.4f}", f"{min(values):.4f}", f"{max(values):.4f}", f"{a / middle:.2f}"])
    parts = [
        f"{options.images:,} JPEGs of {WIDTH} x {HEIGHT} at {SIZE} x {SIZE}, {options.repeats} times each, "
        "by turns.",
        table(["", "seconds, median", "lowest", "highest", "(a) / this"], rows),
        "(a) includes normalising. Where a trial trains on a GPU, the GPU normalises, and (c) is what the "
        "CPU does; on a CPU the last row is the like-for-like figure. A process opens the cached split "
        f"once, in {reopened:.2f} s. Two workers and this process share the cores with whatever else runs.",
    ]
    parts += checked
    if grown:
        parts.append(f"Streaming a test split: `{json.dumps(grown)}`")
    page.finish(*parts)


if __name__ == "__main__":
    main()
