"""The verb that replays recorded learning curves: it parses, calls and prints."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TimeRemainingColumn

from analysis.tables import Format, show
from wst.cli import completion
from wst.cli.output import (
    Force,
    Formatted,
    Json,
    Overrides,
    Style,
    Tasks,
    as_file,
    as_path,
    console,
    error_console,
    print_json,
)
from wst.errors import InputError
from wst.machine import usable_cpus
from wst.suggest import one_of
from wst.workflows.outputs import check_output, whole

simulate_app = typer.Typer()


class Costs(StrEnum):
    """What an epoch costs."""

    epochs = "epochs"
    seconds = "seconds"


@simulate_app.command()
def simulate(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="Study files, or names of shipped studies.",
            autocompletion=completion.studies,
        ),
    ],
    from_: Annotated[
        list[Path],
        typer.Option(
            "--from",
            parser=as_path,
            metavar="DIR",
            help="Output folder with learning curves; may be repeated.",
        ),
    ],
    repeats: Annotated[
        int, typer.Option(min=2, max=10_000, help="Replays of each study, under as many seeds.")
    ] = 50,
    baseline: Annotated[
        str | None, typer.Option(help="Study that the others are measured by; the first by default.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=10_000, help="Trials at a time, over all cells.")] = 1,
    cost: Annotated[
        Costs, typer.Option(help="Count epochs, or the seconds that were recorded.")
    ] = Costs.epochs,
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Replays at a time; as many as there are processors by default."
        ),
    ] = usable_cpus(),
    task: Tasks = None,
    set_: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("-o", parser=as_file, help="PNG, SVG, PDF or HTML file.")
    ] = None,
    style: Formatted = Style.terminal,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare samplers, pruners and budgets on recorded learning curves, without training."""
    from analysis.figures.simulation import FORMATS, draw
    from analysis.simulation import as_plain, as_table, compare
    from wst.simulation.recording import Recording
    from wst.simulation.replay import CellReplay, replay
    from wst.study import load_study
    from wst.workflows.warm_start import resolve_warm_starts

    if out is not None:
        check_output("-o", out, force=force, endings=FORMATS)
    loaded = [
        resolve_warm_starts(load_study(name, overrides=set_ or (), tasks=task or ())) for name in studies
    ]
    names = [study.name for study in loaded]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"simulate: expected studies of different names; found {twice!r} twice")
    first = baseline if baseline is not None else names[0]
    if first not in names:
        raise InputError(f"--baseline: {one_of(first, names)}")
    recording = Recording(from_)
    found: dict[str, list[list[CellReplay]]] = {}
    columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn())
    with Progress(
        *columns, console=error_console, transient=True, disable=not error_console.is_terminal
    ) as progress:
        for study in loaded:
            bar = progress.add_task(study.name, total=repeats)
            found[study.name] = []
            for cells in replay(
                study,
                recording,
                repeats=repeats,
                slots=slots,
                cost=cost.value,
                processes=min(processes, repeats),
            ):
                found[study.name].append(cells)
                progress.advance(bar)
    comparison = compare(loaded, found, first)
    form: Format = style.value
    if out is not None:
        with whole(out) as aside:
            draw(comparison, aside)
    if as_json or style is Style.json:
        print_json(as_plain(comparison))
    else:
        show(as_table(comparison), form, console)
