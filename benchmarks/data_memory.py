"""Peak memory of a final trial while it scores VTAB-1K's largest test split (dSPRITES, 73,728 images).

    python -m benchmarks.data_memory                                       # micro, 32 x 32 pixels
    python -m benchmarks.data_memory --backbone test_vit --image-size 224  # 11 GB of decoded images on disk

A real :class:`wst.training.trial.Trial` on a folder in VTAB-1K's form, whose lists name the same few
pictures again and again: each line is decoded for itself, so that this changes nothing. Printed is by how
much the process grew over what it had when the trial was set up (model and 1,000 training images): first
while it trained an epoch, then while it filled the cache with the test split and scored it. Resident pages
of the memory-mapped cache count in the peak of all resident memory, though the system takes them back when
it needs them; anonymous memory is what it cannot take back, sampled every 20 ms."""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.memory import anonymous, peak
from benchmarks.pages import Page, table
from wst.data.lists import VTAB_NAMES
from wst.data.splits import TaskData
from wst.data.suites import find_suite
from wst.planning.planner import Planner
from wst.study import Study
from wst.training.spec import trial_spec
from wst.training.trial import Trial

PICTURES = 256
SUITE = find_suite("vtab1k")
TASK = SUITE.task("dsprites_loc")


def write_task(root: Path, test_images: int) -> None:
    """Pictures of 64 x 64 in black and white, and lists of VTAB-1K's lengths that name them in turn."""
    folder = TaskData.of(root, SUITE, TASK).folder
    (folder / "images").mkdir(parents=True)
    generator = np.random.RandomState(0)
    for index in range(PICTURES):
        pixels = generator.randint(0, 2, (64, 64)).astype(np.uint8) * 255
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
    sizes = {"train": TASK.train, "val": TASK.val, "test": test_images}
    lines = {
        split: [f"images/{i % PICTURES}.png {i % TASK.classes}\n" for i in range(count)]
        for split, count in sizes.items()
    }
    lines["trainval"] = lines["train"] + lines["val"]
    for split, content in lines.items():
        (folder / f"{VTAB_NAMES[split]}.txt").write_text("".join(content))


class Sampler(threading.Thread):
    """Highest anonymous memory of this process, in bytes, since the last :meth:`restart`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0

    def run(self) -> None:
        while True:
            self.highest = max(self.highest, anonymous())
            time.sleep(0.02)

    def restart(self) -> int:
        self.highest = anonymous()
        return self.highest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="micro", help="micro, or a timm ViT (its weights are random)")
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--test-images", type=int, default=TASK.test)
    page = Page("Memory while a large test split is scored", parser, {"test_images": 600}, ("torch", "timm"))
    options = page.options
    with tempfile.TemporaryDirectory(prefix="wst-benchmark-") as name:
        root = Path(name)
        os.environ["WST_CACHE"] = str(root / "cache")
        write_task(root, options.test_images)
        study = Study.model_validate(
            {
                "name": "memory",
                "suite": "vtab1k",
                "tasks": [TASK.name],
                "backbone": options.backbone,
                "image_size": options.image_size,
                "normalisation": "half",
                "variants": {"wst": {"method": "wst", "fixed": {"lr": 1e-3, "r": 2, "scale": 1.0}}},
                "recipe": {"epochs": 1, "warmup_epochs": 0},
                "final": {"seeds": 1},
            }
        )
        intent = Planner(study).ask()
        assert intent is not None
        spec = trial_spec(study, intent, data=TaskData.of(root, SUITE, TASK), device=options.device)
        sampler = Sampler()
        sampler.start()
        trial = Trial(spec)
        started, anonymous_before = peak(), sampler.restart()
        list(trial.epochs())
        trained, anonymous_trained = peak(), sampler.highest
        sampler.restart()
        begin = time.perf_counter()
        images = trial.test().images
        seconds = time.perf_counter() - begin
        scored, anonymous_scored = peak(), sampler.highest
        decoded = max(path.stat().st_size for path in (root / "cache" / "splits").glob("*/images.npy"))
    rows = [
        ("test split, decoded, on disk", decoded),
        ("process with the trial set up, all resident memory", started),
        ("process with the trial set up, anonymous memory", anonymous_before),
        ("growth while training, highest of all resident memory", trained - started),
        ("growth while training, highest of anonymous memory", anonymous_trained - anonymous_before),
        ("growth by the end of scoring, highest of all resident memory", scored - started),
        ("growth while scoring, highest of anonymous memory", anonymous_scored - anonymous_before),
    ]
    page.finish(
        f"A final trial of WST on {options.backbone} ({options.device}, batches of 256), after an epoch on "
        f"{TASK.train + TASK.val:,} images, decodes and scores a test split of {images:,} images in "
        f"{seconds:.0f} s; its cache entry is empty at first. Growth is over the process with the trial set "
        "up.",
        table(
            ["", "MB", "/ the decoded split"],
            [[what, f"{size / 1e6:.1f}", f"{size / decoded:.2f}"] for what, size in rows],
        ),
        "Resident pages of the memory-mapped cache count in the highest of all resident memory, which the "
        "system takes back when it needs them; anonymous memory is what it cannot, sampled every 20 ms. "
        "Other programs change the time here, not the memory.",
    )


if __name__ == "__main__":
    main()
