"""Peak memory of a final trial while it scores VTAB-1K's largest test split (dSPRITES, 73,728 images).

    python benchmarks/data_memory.py                                       # micro, 32 x 32 pixels
    python benchmarks/data_memory.py --backbone test_vit --image-size 224  # 11 GB of decoded images on disk

A real :class:`wst.training.trial.Trial` on a folder in VTAB-1K's form, whose lists name the same few
pictures again and again: each line is decoded for itself, so that this changes nothing. Printed is by how
much the process grew over what it had when the trial was set up (model and 1,000 training images): first
while it trained an epoch, then while it filled the cache with the test split and scored it. Resident pages
of the memory-mapped cache count in the peak of all resident memory, though the system takes them back when
it needs them; anonymous memory is what it cannot take back, sampled every 20 ms."""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wst.data.lists import VTAB_NAMES
from wst.data.splits import TaskData
from wst.data.suites import find_suite
from wst.records import Intent
from wst.study import Study
from wst.training.spec import trial_spec
from wst.training.trial import Trial

PICTURES = 256
VTAB = find_suite("vtab1k")
TASK = VTAB.task("dsprites_loc")


def write_task(root: Path) -> None:
    """Pictures of 64 x 64 in black and white, and lists of VTAB-1K's lengths that name them in turn."""
    folder = TaskData.of(root, VTAB, TASK).folder
    (folder / "images").mkdir(parents=True)
    generator = np.random.RandomState(0)
    for index in range(PICTURES):
        pixels = generator.randint(0, 2, (64, 64)).astype(np.uint8) * 255
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
    sizes = {"train": TASK.train, "val": TASK.val, "test": TASK.test}
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


def anonymous() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("expected RssAnon in /proc/self/status; found none")


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="micro", help="micro, or a timm ViT (its weights are random)")
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wst-benchmark-") as name:
        root = Path(name)
        os.environ["WST_CACHE"] = str(root / "cache")
        write_task(root)
        settings = {"lr": 1e-3, "r": 2, "scale": 1.0}
        study = Study.model_validate(
            {
                "name": "memory",
                "suite": "vtab1k",
                "tasks": [TASK.name],
                "backbone": options.backbone,
                "image_size": options.image_size,
                "normalisation": "half",
                "variants": {"wst": {"method": "wst", "fixed": settings}},
                "recipe": {"epochs": 1, "warmup_epochs": 0},
                "final": {"seeds": 1},
            }
        )
        intent = Intent(f"{TASK.name}.wst.final.0000", TASK.name, "wst", "final", 0, 0, 1, settings)
        sampler = Sampler()
        sampler.start()
        spec = trial_spec(study, intent, data=TaskData.of(root, VTAB, TASK))
        trial = Trial(spec, torch.device(options.device))
        started, anonymous_before = peak(), sampler.restart()
        list(trial.epochs())
        trained, anonymous_trained = peak(), sampler.highest
        sampler.restart()
        begin = time.perf_counter()
        _, images = trial.test()
        scored, anonymous_scored = peak(), sampler.highest
        decoded = (root / "cache" / "splits").glob("*/images.npy")
        figures = {
            "backbone": options.backbone,
            "device": options.device,
            "test images": images,
            "decoded test split on disk, MB": max(file.stat().st_size for file in decoded) / 1e6,
            "resident when set up, MB": started / 1e6,
            "anonymous when set up, MB": anonymous_before / 1e6,
            "growth while training, all resident, MB": (trained - started) / 1e6,
            "growth while training, anonymous, MB": (anonymous_trained - anonymous_before) / 1e6,
            "growth by the end of scoring, all resident, MB": (scored - started) / 1e6,
            "growth while scoring, anonymous, MB": (anonymous_scored - anonymous_before) / 1e6,
            "seconds to decode and score": time.perf_counter() - begin,
        }
        print(f"{os.cpu_count()} CPUs, torch {torch.__version__}")
        shown = {key: round(v, 1) if isinstance(v, float) else v for key, v in figures.items()}
        print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
