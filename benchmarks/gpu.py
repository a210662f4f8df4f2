"""What one GPU makes of it: peaks, steps beside the reference's, passes, kinds of steps, a whole trial.

    python -m benchmarks.gpu                  # ViT-B/16 and Swin-B (random weights): about 8 minutes
    python -m benchmarks.gpu --device cpu     # where there is no GPU: micro on the CPU

From a bare clone it needs what training does: torch, torchvision, timm, numpy, pyarrow, pandas, pydantic,
PyYAML, filelock and psutil.  The recipe of the reference is that of ``benchmarks.step``: fp16 autocast with a
scaler on CUDA.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from benchmarks import step
from benchmarks.pages import NOT_HERE, Page, table
from benchmarks.reference import training as reference
from wst.machine import usable_cpus
from wst.records import Steps
from wst.training.layouts import Layout, tried
from wst.training.spec import TrialSpec
from wst.training.timing import Sample, products_per_second

CUDA = step.DEVICE == "cuda"
PRECISIONS = ("fp32", "bf16")


def layouts(threads: int) -> list[tuple[str, Layout]]:
    """What is tried, each with the precision that it is tried in."""
    if CUDA:
        found = [("bf16", Layout(1, threads))]
        every: tuple[Steps, ...] = ("captured", "compiled")
        found += [("bf16", Layout(1, threads, 1, steps)) for steps in every]
        found += [("bf16", Layout(2, threads, 1, steps)) for steps in every]
        found += [("bf16", Layout(1, threads, 4, steps)) for steps in every]
        return [*found, ("bf16", Layout(1, threads, 8, "captured")), ("fp32", Layout(1, threads))]
    found = [(precision, Layout(1, threads)) for precision in PRECISIONS]
    return [*found, ("fp32", Layout(1, threads, 4)), ("fp32", Layout(2, max(1, threads // 2)))]


def operations(spec: TrialSpec) -> int:
    """Of products of matrices in a training step, an image."""
    return Sample(spec).operations()


def peak_table(peaks: dict[str, float]) -> list[str]:
    rows = [[name, f"{peak / 1e12:.4g}"] for name, peak in peaks.items()]
    return table(["precision", "TFLOP/s in the product of two large matrices"], rows)


def step_table(
    backbones: Sequence[str], given: step.Given, peaks: dict[str, float], shortest: float, most: Sequence[int]
) -> list[str]:
    rows: list[list[str]] = []

    def add(*cells: str) -> None:
        rows.append(list(cells))
        print(*cells, sep="  ", file=sys.stderr, flush=True)

    for place, backbone in enumerate(backbones):
        theirs = None
        if not backbone.startswith("swin"):  # the reference is written for ViTs
            (times,) = step.alone(step.step_times, backbone, given, 3, step.SIDES[:1])
            theirs = reference.BATCH / (median(times) / 1000)
            highest, _ = step.alone(step.step_memory, step.SIDES[0], backbone, given)
            figures = [f"{theirs:.1f}", "1.00", "", f"{highest / 1e6:.0f}"]
            add(backbone, step.SIDES[0].name, "1", "1", "eager", *figures)
        each = step.alone(operations, step.our_spec(given, backbone, "fp32", 100, None))
        for precision, layout in layouts(given.threads)[: most[min(place, len(most) - 1)]]:
            spec = step.our_spec(given, backbone, precision, 100, None)
            found = tried(layout, spec, shortest)
            what = [str(layout.slots), str(layout.together), layout.steps]
            if found.images is None:
                add(backbone, f"wst, {precision}", *what, found.problem or "", "", "", "")
                continue
            share = found.images * each / peaks[precision]
            gain = f"{found.images / theirs:.2f}" if theirs is not None else ""
            figures = [f"{found.images:.1f}", gain, f"{share:.1%}"]
            add(backbone, f"wst, {precision}", *what, *figures, f"{(found.memory or 0) / 1e6:.0f}")
    columns = ["backbone", "", "processes", "trials in a pass", "steps", "images a second"]
    return table([*columns, "this / reference", "of the peak", "memory, MB"], rows, text=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = ["vit_base_patch16_224", "swin_base_patch4_window7_224"] if CUDA else ["micro"]
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--backbones", nargs="+", default=usual)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument(
        "--layouts", type=int, nargs="+", default=[99], help="the first so many alone, of each backbone"
    )
    parser.add_argument("--epochs", type=int, default=3, help="of the whole trial; 0 leaves it out")
    parser.add_argument(
        "--threads", type=int, default=min(4, usable_cpus()), help="of the CPU, for each trial"
    )
    quick = {"backbones": ["micro"], "seconds": 0.1, "epochs": 1, "layouts": [1], "threads": 1}
    page = Page("One device", parser, quick, ("torch", "torchvision", "timm"))
    options = page.options
    if options.device != step.DEVICE and not options.quick:
        print(f"expected a machine that trains on {options.device}; found {step.DEVICE}", file=sys.stderr)
        sys.exit(NOT_HERE)
    device = torch.device(step.DEVICE)
    with tempfile.TemporaryDirectory(prefix="wst-benchmark-") as name:
        given = step.Given(step.write_task(Path(name) / "png"), options.threads)
        os.environ["WST_CACHE"] = f"{name}/cache"
        torch.set_num_threads(options.threads)
        peaks = {
            precision: products_per_second(precision, device, options.seconds) for precision in PRECISIONS
        }
        steps = step_table(options.backbones, given, peaks, options.seconds, options.layouts)
        trials: list[list[str] | str] = []
        if options.epochs:
            trials = [
                f"## A trial of {options.backbones[0]}, until its accuracy on the test split",
                step.trial_table(given, options.epochs, 1, options.backbones[0]),
                f"{step.TASK.name}, epochs: {options.epochs}, as in `benchmarks/results/step.md`; once.",
            ]
    page.finish(
        f"On {torch.cuda.get_device_name() if CUDA else 'the CPU'}; WST with r = 2 and drop path "
        f"{step.SETTINGS['drop_path']}, batches of {reference.BATCH} of each trial.",
        "## The device",
        peak_table(peaks),
        "## A training step",
        steps,
        "The reference is the recipe of the research scripts (`benchmarks/reference`), which is written for "
        "ViTs, alone in a process. Ours are processes beside each other, each with as many trials in a pass "
        "as it says. Captured steps are replayed from a CUDA graph; compiled ones are fused before. Images a "
        "second are those of all trials together. Operations are those of products of matrices, counted. "
        "Memory is the accelerator's, of all processes: what they allocate, or where steps are replayed what "
        "they reserve; on a CPU it is resident, libraries and all.",
        *trials,
    )


if __name__ == "__main__":
    main()
