"""How fast training is, beside the recipe as the research scripts of the field run it.

    python -m benchmarks.step                     # ViT-B/16 (random weights, 224 px) and micro (32 px)
    python -m benchmarks.step --backbones micro   # that alone

The scripts' recipe is written anew in ``benchmarks/reference``.  Measured are a training step of WST (r = 2,
batches of 32) in time and memory, and a whole trial from its start to the accuracy on the test split of a
task of the mini suite, by part.  Besides, by counting alone, the images that go through the model in a study
of VTAB-1K.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from benchmarks import memory
from benchmarks.pages import Page, table
from benchmarks.reference import training as reference
from benchmarks.reference.model import LiteralWST
from benchmarks.stopwatch import Stopwatch
from wst.data.lists import VTAB_NAMES, ImageList
from wst.data.mini import MINI
from wst.data.splits import TaskData, data_root
from wst.data.suites import find_suite
from wst.data.tasks import Task
from wst.machine import usable_cpus
from wst.models.create import without_weights
from wst.records import Intent
from wst.study import Study
from wst.training.spec import TrialSpec, trial_spec
from wst.training.together import Pass
from wst.training.trial import Trial

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PRECISION = "fp16" if DEVICE == "cuda" else "fp32"
"""The reference's, and that of ours beside it."""
TASK = MINI.task("sprite_loc")
SETTINGS: dict[str, Any] = {"lr": 1e-3, "r": 2, "scale": 1.0, "drop_path": 0.1}
TURN_S = 0.5
"""A turn has as many steps as take so long, one at least."""
WARM_STEPS = 2
"""The second has the optimiser's moments."""
PARTS = ("setup", "data", "training", "evaluation")

Steps = Callable[[int], None]
"""Runs so many training steps, and waits for their end."""


@dataclass(frozen=True)
class Side:
    """One of those that are compared; ``precision`` is None for the reference, which has its own."""

    name: str
    precision: str | None


SIDES = (
    Side(f"reference, {PRECISION}", None),
    Side(f"wst, {PRECISION}", PRECISION),
    Side("wst, bf16", "bf16"),
)


@dataclass(frozen=True)
class Given:
    """What is the same for all: the task's images, and the CPU threads that training may take."""

    data: TaskData
    threads: int


def write_task(folder: Path) -> TaskData:
    """The task with its pictures as PNG, which both sides read; the mini suite has them as BMP."""
    data = TaskData.of(data_root(MINI, None), MINI, TASK)
    for split in ("trainval", "test"):
        (folder / split).mkdir(parents=True)
        listed, lines = data.list(split), []
        for index, (path, label) in enumerate(zip(listed.images, listed.labels, strict=True)):
            name = f"{split}/{index:06d}.png"
            Image.open(path).save(folder / name)
            lines.append(f"{name} {label}\n")
        (folder / f"{VTAB_NAMES[split]}.txt").write_text("".join(lines))
    return TaskData(folder, TASK)


def our_spec(given: Given, backbone: str, precision: str, epochs: int, state: Path | None) -> TrialSpec:
    """A final trial by the reference's recipe."""
    study = Study.model_validate(
        {
            "name": "step",
            "suite": MINI.name,
            "tasks": [TASK.name],
            "backbone": backbone,
            "normalisation": "half",
            "variants": {"wst": {"method": "wst", "fixed": SETTINGS}},
            "recipe": {
                "epochs": epochs,
                "batch_size": reference.BATCH,
                "weight_decay": reference.WEIGHT_DECAY,
                "no_decay": "biases",
                "schedule": "timm_cosine",
                "warmup_epochs": epochs // 10,
                "drop_last": True,
                "precision": precision,
            },
            "final": {"seeds": 1},
            "resources": {"cpus_per_trial": given.threads},
        }
    )
    settings = study.recipe.complete(SETTINGS)
    intent = Intent(f"{TASK.name}.wst.final.0000", TASK.name, "wst", "final", 0, 0, 1, settings)
    return trial_spec(study, intent, data=given.data, device=DEVICE, checkpoint_path=state)


def steps_of(side: Side, backbone: str, given: Given) -> Steps:
    """Training steps of a new model.

    The reference's batch lies ready, floats on the CPU, as its loader gives it; ours is chosen and normalised
    in each step.
    """
    if side.precision is None:
        torch.set_num_threads(given.threads)
        settings = {name: value for name, value in SETTINGS.items() if name != "lr"}
        model = LiteralWST(backbone, TASK.classes, **settings)
        run = reference.Training(model, SETTINGS["lr"], DEVICE)
        model.train()
        images = torch.randn(reference.BATCH, 3, model.image_size, model.image_size)
        labels = torch.randint(TASK.classes, (reference.BATCH,))

        def theirs(count: int) -> None:
            for _ in range(count):
                run.step(images, labels)

        return theirs
    trial = Trial(our_spec(given, backbone, side.precision, 100, None))
    trial.model.train()
    draws = itertools.cycle(list(trial.draws.epoch()))

    def ours(count: int) -> None:
        total = torch.zeros((), device=DEVICE)
        for draw in itertools.islice(draws, count):
            total += trial.update(draw, SETTINGS["lr"])
        assert total.isfinite()  # waits for the device

    return ours


def step_times(
    backbone: str, given: Given, repeats: int, compared: Sequence[Side] = SIDES
) -> list[list[float]]:
    """Milliseconds a step, for each side in each repeat; by turns, so that a busy spell hits all alike."""
    sides = [steps_of(side, backbone, given) for side in compared]
    counts = []
    for steps in sides:
        warm = seconds(steps, WARM_STEPS) / WARM_STEPS
        counts.append(max(1, round(TURN_S / warm)))
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for steps, count, found in zip(sides, counts, times, strict=True):
            found.append(1000 * seconds(steps, count) / count)
    return times


def seconds(steps: Steps, count: int) -> float:
    begin = time.perf_counter()
    steps(count)
    return time.perf_counter() - begin


def step_memory(side: Side, backbone: str, given: Given) -> tuple[int, int]:
    """Peak of this process in training steps, and how much of it is over what was there before them: bytes.

    Resident memory; on CUDA what torch has allocated there.
    """
    steps = steps_of(side, backbone, given)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated
    else:
        before, peak = memory.restart(), memory.peak
    steps(WARM_STEPS)
    highest = peak()
    return highest, highest - before


def step_table(backbones: list[str], given: Given, repeats: int) -> list[str]:
    rows = []
    for backbone in backbones:
        sizes = [alone(step_memory, side, backbone, given) for side in SIDES]
        times = alone(step_times, backbone, given, repeats)
        for side, found, (highest, grown) in zip(SIDES, times, sizes, strict=True):
            cells = [f"{value:.1f}" for value in (median(found), min(found), max(found))]
            cells += [f"{median(times[0]) / median(found):.2f}"]
            cells += [f"{highest / 1e6:.0f}", f"{grown / 1e6:.0f}", f"{sizes[0][1] / grown:.2f}"]
            rows.append([backbone, side.name, *cells])
    columns = ["backbone", "", "ms, median", "lowest", "highest", "reference / this"]
    return table([*columns, "peak, MB", "of it growth, MB", "reference's growth / this"], rows, text=2)


def reference_trial(given: Given, epochs: int, backbone: str) -> tuple[dict[str, float], float]:
    """Seconds by part, and the accuracy on the test split."""
    torch.set_num_threads(given.threads)
    lists: list[ImageList] = [given.data.list("trainval"), given.data.list("test")]
    watch = Stopwatch()
    top1 = reference.run(
        backbone,
        TASK.classes,
        *lists,
        epochs=epochs,
        warmup_epochs=epochs // 10,
        settings=SETTINGS,
        device=DEVICE,
        watch=watch,
    )
    return dict(watch.seconds), top1


def our_trial(given: Given, epochs: int, backbone: str) -> tuple[dict[str, float], float]:
    """The same of ours.  The training images are decoded first, so that this can be told from the rest."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as name:
        os.environ["WST_CACHE"] = f"{name}/cache"
        spec = our_spec(given, backbone, PRECISION, epochs, Path(name) / "state")
        size = without_weights(spec.backbone, "linear", {}, num_classes=1).input.size
        with watch("data"):
            given.data.open("trainval", size, "final")
        with watch("setup"):
            trial = Trial(spec)
        with watch("training"):
            for _, epoch in itertools.chain.from_iterable(Pass([trial]).rounds()):
                if isinstance(epoch, Exception):
                    raise epoch
        with watch("evaluation"):
            top1 = trial.test().top1
    assert top1 is not None
    return dict(watch.seconds), top1


def trial_table(given: Given, epochs: int, repeats: int, backbone: str = "micro") -> list[str]:
    runs = {"reference": reference_trial, "wst": our_trial}
    found: dict[str, list[tuple[dict[str, float], float]]] = {name: [] for name in runs}
    for _ in range(repeats):  # by turns
        for name, run in runs.items():
            found[name].append(alone(run, given, epochs, backbone))
    totals = {name: [sum(parts.values()) for parts, _ in each] for name, each in found.items()}
    rows = []
    for name, each in found.items():
        total = totals[name]
        cells = [f"{value:.1f}" for value in (median(total), min(total), max(total))]
        cells += [f"{median(totals['reference']) / median(total):.2f}"]
        cells += [f"{median(parts[part] for parts, _ in each):.2f}" for part in PARTS]
        rows.append([name, *cells, f"{100 * median(top1 for _, top1 in each):.1f} %"])
    columns = ["", "seconds, median", "lowest", "highest", "reference / this"]
    return table([*columns, *PARTS, "test accuracy"], rows)


def images_through(tasks: tuple[Task, ...], epochs: int) -> list[tuple[str, int, int]]:
    """What is done with each task, and how many images that trains on and how many it scores, over all."""
    train, val, test = (sum(getattr(task, split) for task in tasks) for split in ("train", "val", "test"))
    return [
        ("reference, any run: the test split after every epoch", epochs * (train + val), epochs * test),
        ("wst, a final trial: the test split once", epochs * (train + val), test),
        ("wst, a trial of a search: val after every epoch", epochs * train, epochs * val),
    ]


def images_table(epochs: int) -> list[str]:
    counted = images_through(find_suite("vtab1k").tasks, epochs)
    first = sum(counted[0][1:])
    rows = [
        [what, f"{trained:,}", f"{scored:,}", f"{first / (trained + scored):.1f}"]
        for what, trained, scored in counted
    ]
    return table(["", "images trained on", "images scored", "reference / this"], rows)


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """The result of a call in a process of its own, in which no other has run."""
    context = multiprocessing.get_context("forkserver")
    # Forked from one that has done nothing but import, which takes seconds.
    context.set_forkserver_preload(
        ["benchmarks.pages", "benchmarks.reference.training", "wst.training.trial"]
    )
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["vit_base_patch16_224", "micro"])
    parser.add_argument("--repeats", type=int, default=9, help="of the steps")
    parser.add_argument("--epochs", type=int, default=100, help="of the whole trial")
    parser.add_argument("--trials", type=int, default=3, help="repeats of the whole trial")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="of the CPU, for training")
    quick = {"threads": 1, "backbones": ["micro"], "repeats": 1, "epochs": 1, "trials": 1}
    page = Page("The speed of training", parser, quick, ("torch", "torchvision", "timm"))
    options = page.options
    with tempfile.TemporaryDirectory(prefix="wst-benchmark-") as name:
        given = Given(write_task(Path(name) / "png"), options.threads)
        os.environ["WST_CACHE"] = f"{name}/cache"
        steps = step_table(options.backbones, given, options.repeats)
        trials = trial_table(given, options.epochs, options.trials)
    page.finish(
        "The reference is the recipe as the research scripts of the field run it, written anew in "
        "`benchmarks/reference`, on the same models of timm's. "
        f"Both train WST (r = 2, drop path {SETTINGS['drop_path']}) on "
        + (torch.cuda.get_device_name() if DEVICE == "cuda" else f"the CPU, threads: {options.threads}")
        + ". Precisions: fp32 is 32-bit floats, fp16 and bf16 are torch's autocast to these.",
        "## A training step",
        steps,
        f"Batches of {reference.BATCH}; repeats: {options.repeats}, by turns in one process, each of as many "
        f"steps as take {TURN_S} s, one at least. The reference's batch lies ready, while ours is chosen and "
        "normalised within the step. Memory is that of a process of its own for each: the peak in training "
        "steps, and how far that is over what was there before them (libraries, the model, and with ours the "
        "1,000 training images).",
        "## A trial, until its accuracy on the test split",
        trials,
        f"Micro on {TASK.name} ({TASK.train + TASK.val:,} training and {TASK.test:,} test images, PNG of "
        f"32 x 32), epochs: {options.epochs}, the same recipe on both sides; repeats: {options.trials}, by "
        "turns, each in a process of its own that has its libraries loaded, ours with an empty cache. The "
        "reference scores the test split after every epoch, ours once, in the end. Parts are medians, in "
        "seconds; data is the wait for training images: with the reference for the workers that decode them "
        "in every epoch, with ours for the one time that they are decoded. Evaluation has the wait for test "
        "images in it.",
        "## Images through the model in a study of VTAB-1K",
        images_table(100),
        "Counted: 19 tasks of 1,000 training images, 100 epochs each, one trial a task.",
    )


if __name__ == "__main__":
    main()
