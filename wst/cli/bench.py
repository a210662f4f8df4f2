"""``wst bench``: what this machine does with a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from wst.cli import completion
from wst.cli.output import Json, Overrides, Root, add_row, console, print_json, print_line

if TYPE_CHECKING:
    from wst.workflows.bench import Bench

bench_app = typer.Typer()


@bench_app.command()
def bench(
    study: Annotated[
        str,
        typer.Argument(help="Study file or shipped study.", autocompletion=completion.studies),
    ] = "demo",
    root: Root = None,
    set_: Overrides = None,
    shortest: Annotated[
        float, typer.Option("--seconds", min=0.1, max=600, help="What each measurement takes at least.")
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Measure a study here: images a second, memory, the best number of trials at a time, hours."""
    from wst.study import load_study
    from wst.workflows.bench import bench as measure
    from wst.workflows.preflight import check
    from wst.workflows.warm_start import resolve_warm_starts

    loaded = resolve_warm_starts(load_study(study, overrides=set_ or ()))
    found = measure(loaded, check(loaded, root), shortest)
    if as_json:
        print_json(_plain(found))
    else:
        _show(found, loaded.name)


def _resources(found: Bench) -> dict[str, float | str]:
    """What the study's ``resources`` would be with the best layout."""
    best = found.best
    slots: dict[str, float | str]
    if found.device == "cpu":
        slots = {"slots": best.slots, "cpus_per_trial": best.threads}
    else:
        slots = {"gpus_per_trial": round(1 / best.slots, 2), "slots": best.slots * found.devices}
    return {**slots, "trials_per_pass": best.together, "steps": best.steps}


def _yaml(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _plain(found: Bench) -> dict[str, object]:
    return {
        "device": found.device,
        "devices": found.devices,
        "peak operations a second": found.peaks,
        "variants": {
            name: {**vars(speed), "share of the peak": found.share(name)}
            for name, speed in found.speeds.items()
        },
        "layouts": {"variant": found.slowest, "tried": [vars(layout) for layout in found.layouts]},
        "resources": _resources(found),
        "slot hours": found.slot_seconds / 3600,
        "hours": found.wall_seconds / 3600,
        "gpu hours": None if found.device == "cpu" else found.wall_seconds / 3600 * found.devices,
    }


def _show(found: Bench, name: str) -> None:
    from wst.workflows.progress import duration

    noun = "CPUs" if found.device == "cpu" else "GPUs"
    peaks = ", ".join(f"{peak / 1e12:.3g} TFLOP/s in {precision}" for precision, peak in found.peaks.items())
    print_line(f"{found.device}, {found.devices} {noun}; products of matrices on one slot: {peaks}")
    variants = Table(
        *("variant", "precision", "training", "scoring", "of the peak", "memory"),
        title="Images a second on one slot",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for variant, speed in found.speeds.items():
        add_row(
            *(variants, variant, speed.precision, f"{speed.training:,.0f}", f"{speed.scoring:,.0f}"),
            f"{found.share(variant):.0%}",
            "-" if speed.memory is None else f"{speed.memory / 2**20:,.0f} MiB",
        )
    console.print(variants)
    layouts = Table(
        *("jobs at a time", "threads each", "trials in a pass", "steps", "images a second"),
        title=f"Beside each other ({found.slowest}, the slowest)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for layout in found.layouts:
        rate = layout.problem if layout.images is None else f"{layout.images:,.0f}"
        numbers = (str(layout.slots), str(layout.threads), str(layout.together))
        add_row(layouts, *numbers, layout.steps, rate or "")
    console.print(layouts)
    settings = " ".join(f"--set resources.{key}={_yaml(value)}" for key, value in _resources(found).items())
    print_line(f"Best here: {settings}")
    cost = f"{name}: {duration(found.slot_seconds)} on one slot, {duration(found.wall_seconds)} so"
    if found.device != "cpu":
        cost += f" ({found.wall_seconds / 3600 * found.devices:.1f} GPU-hours)"
    print_line(f"{cost}; training alone, pruning as expected.")
