"""The verbs of a study: tune, demo, status, best."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from analysis import tables
from wst.cli import completion
from wst.cli.analysis import draw_pareto, show_leaderboard
from wst.cli.failures import ALL_FAILED, say
from wst.cli.output import (
    Caption,
    Folder,
    Force,
    Form,
    Formatted,
    Json,
    Label,
    Overrides,
    Root,
    Style,
    Tasks,
    add_row,
    as_file,
    as_path,
    console,
    error_console,
    form_of,
    print_json,
    print_line,
)
from wst.engine.faults import OutOfTime, StudyStoppedError
from wst.errors import InputError
from wst.files import replacing
from wst.records import Stage
from wst.trackers import check_name
from wst.workflows.outputs import check_output, whole

if TYPE_CHECKING:
    from wst.planning.planner import Planner
    from wst.study import Study

study_app = typer.Typer()


@study_app.command()
def tune(
    study: Annotated[
        str,
        typer.Argument(
            help="A study file, or the name of a shipped study.", autocompletion=completion.studies
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(parser=as_path, help="Output folder; runs/<name of the study> by default.")
    ] = None,
    root: Root = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run and what it would cost.")
    ] = False,
    task: Tasks = None,
    set_: Overrides = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="Run in this process, one trial at a time, without Ray.")
    ] = False,
    address: Annotated[str | None, typer.Option(help="Address of a running Ray cluster.")] = None,
    stop_after: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Stop after this time, such as 3h; exit status 75 if trials are left."
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the trials again that failed before.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="Also tell this tracker, such as wandb (all: wst ls trackers); may be given again.",
            autocompletion=completion.trackers,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a study, or go on with the one in the output folder."""
    from wst.study.durations import parse_duration

    try:
        limit = parse_duration(stop_after) if stop_after is not None else None
    except ValueError as error:
        raise InputError(f"--stop-after: {error}") from None
    told = error_console if as_json else console
    for name in track or ():
        check_name(name)
    loaded, folder = _announced(study, out, root, told, overrides=set_ or (), tasks=task or ())
    if dry_run:
        _print_costs(loaded, root, as_json)
        return
    planner = _run(
        loaded,
        folder,
        told,
        root=root,
        inline=inline,
        address=address,
        stop_after=limit,
        retry_failed=retry_failed,
        track=track or (),
    )
    print_line(f"ledger: {folder / 'ledger'}", told)
    if any(trial.outcome.state == "completed" for c in planner.cells.values() for trial in c.ended["final"]):
        show_leaderboard([folder], Form("json" if as_json else "terminal"), console)
    elif as_json:
        from wst.workflows.status import status_rows

        print_json(status_rows(folder))
    _end_if_barren(planner)


def _announced(
    name: str, out: Path | None, root: str | None, told: Console, **changes: Sequence[str]
) -> tuple[Study, Path]:
    """A study and its output folder, said in a line, with what is not as it looks.

    Names and paths are looked at first; nothing that takes seconds to import is needed to come so far.
    """
    from wst.data.splits import data_root
    from wst.data.suites import find_suite
    from wst.models.families import check_mentioned
    from wst.study import load_study
    from wst.workflows.announce import announcement, not_done

    study = load_study(name, **changes)
    check_mentioned(study.frozen_backbone)
    suite = find_suite(study.suite)
    if root is not None or suite.build is None:  # a suite that builds itself may take its time
        data_root(suite, root)
    folder = out or Path("runs") / study.name
    for line in (announcement(study, folder), *not_done(study)):
        print_line(line, told)
    return study, folder


def _print_costs(study: Study, root: str | None, as_json: bool) -> None:
    from wst.workflows.costs import expected_costs
    from wst.workflows.preflight import check
    from wst.workflows.progress import duration
    from wst.workflows.warm_start import resolve_warm_starts

    study = resolve_warm_starts(study)
    costs = expected_costs(study, check(study, root))
    if as_json:
        print_json([vars(cost) for cost in costs])
        return
    stages = [
        stage for stage in ("search", "confirm", "final") if any(getattr(c, f"{stage}_trials") for c in costs)
    ]
    columns = [name for stage in stages for name in (stage, "epochs")]
    table = Table("task", "variant", "trainable", *columns, "slot time", box=box.SIMPLE_HEAD)
    for cost in costs:
        numbers = [
            round(getattr(cost, f"{stage}_{what}")) for stage in stages for what in ("trials", "epochs")
        ]
        add_row(
            table, cost.task, cost.variant, f"{cost.trainable:,}", *map(str, numbers), duration(cost.seconds)
        )
    console.print(table)
    total = duration(sum(cost.seconds for cost in costs))
    console.print(f"{total} on one slot like this machine's (timed here now; pruning as expected).")


@contextmanager
def stopping(folder: Path) -> Iterator[None]:
    """Say in a line why a run stopped and what goes on with it, and leave with the status for it."""
    goes_on = f"The ledger is whole; the same command goes on with {folder}."
    try:
        yield
    except OutOfTime:
        print_line(f"Stopped, as asked; the same command goes on with {folder}.", error_console)
        raise typer.Exit(75) from None
    except KeyboardInterrupt:
        print_line(f"Stopped. {goes_on}", error_console)
        raise typer.Exit(130) from None
    except StudyStoppedError as error:
        say(" ".join(str(error).split()))
        print_line(goes_on, error_console)
        raise typer.Exit(1) from None


def _run(study: Study, folder: Path, told: Console, **options: Any) -> Planner:
    """Run it, with its progress on that console; the planner as it stands at the end."""
    from analysis.leaderboard.table import read_rows
    from wst.workflows.failures import failures
    from wst.workflows.progress import Progress
    from wst.workflows.tune import run_study

    with stopping(folder):
        planner = run_study(
            study,
            folder,
            display=lambda planner: Progress(planner, told),
            told=lambda line: print_line(line, told),
            leaderboard=read_rows,
            **options,
        )
    failed = failures(planner)
    if failed:
        print_line(
            f"{failed} trials failed: see error_text in the ledger; --retry-failed runs them again.",
            error_console,
        )
    return planner


def _end_if_barren(planner: Planner) -> None:
    """Leave with a status of its own, and a line, where a part of the study came to nothing."""
    from wst.workflows.failures import barren

    found = barren(planner)
    if found is not None:
        say(found)
        raise typer.Exit(ALL_FAILED)


@study_app.command()
def demo(
    out: Annotated[Path, typer.Option(parser=as_path, help="Output folder.")] = Path("runs/demo"),
) -> None:
    """Compare six methods in the embedded default study, two of them tuned, and show what came out."""
    study, _ = _announced("demo", out, None, console)
    _end_if_barren(_run(study, out, console))
    show_leaderboard([out], Form("terminal"), console)
    pictures = [out / f"pareto{ending}" for ending in (".png", ".svg", ".html")]
    for picture in pictures:
        draw_pareto([out], picture)
    board = out / "leaderboard.md"
    with whole(board) as aside, aside.open("w", encoding="utf-8") as file:
        show_leaderboard([out], Form("markdown"), Console(file=file, width=200))
    for what, where in (("ledger", out / "ledger"), ("leaderboard", board), ("picture", pictures[0])):
        print_line(f"{what}: {where}")


@study_app.command()
def status(
    folder: Folder,
    style: Formatted = Style.terminal,
    caption: Caption = None,
    label: Label = None,
    as_json: Json = False,
) -> None:
    """Show how far a study is: trials by cell, stage and state, the best so far, what is left.

    Lines below say how often the test images have been read: by this study, and by others on this machine.
    """
    from wst.workflows.status import overlap_notes, status_lines, status_rows

    form = form_of(style, as_json, caption, label)
    rows = status_rows(folder)
    if form.style == "json":
        print_json(rows)
        return
    columns = [
        *(tables.Column("task"), tables.Column("variant")),
        *(tables.Column(stage) for stage in get_args(Stage)),
        tables.Column("val", "percent"),
        *(tables.Column(name, "count") for name in ("pruned", "failed", "begun", "left", "test reads")),
        *(tables.Column(name, "percent") for name in ("val overlap", "test overlap")),
    ]
    if form.style != "csv":
        aside = ("begun", "val overlap", "test overlap")
        columns = [c for c in columns if c.name not in aside and any(row[c.name] != "-" for row in rows)]
    percent = {column.name for column in columns if column.kind == "percent"}
    cells = [
        {c.name: _percent(row[c.name]) if c.name in percent else row[c.name] for c in columns} for row in rows
    ]
    notes = [*overlap_notes(rows), *status_lines(folder)]
    form.show(tables.Table("Trials by cell", columns, cells, notes, keys=2), console)


def _percent(share: float | None) -> float | None:
    """In per cent, without what a product adds in the last place."""
    return None if share is None else round(100 * share, 9)


@study_app.command()
def repair(
    folder: Folder,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is damaged; change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Lay aside what is damaged in a study's folder, and say what that means; nothing is deleted.

    What was trained and is whole stays. A trial that has lost its row or its curve runs again when the study
    goes on, under the same settings and seed.
    """
    from wst.workflows.repair import repair as repaired

    made, aside = repaired(folder, dry_run=dry_run)
    if as_json:
        print_json({"damaged": [vars(f) for f in made.findings], "laid aside": str(aside) if aside else None})
        return
    for finding in made.findings:
        print_line(f"{finding.path}: {finding.found}. {finding.meaning}.")
    if aside is not None:
        print_line(f"laid aside: {aside}")
    elif made.findings and dry_run:
        print_line(f"{len(made.findings)} things are damaged; nothing was changed.")
    elif not made.findings:
        print_line(f"{folder}: nothing is damaged.")


@study_app.command()
def best(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", parser=as_file, help="Write a study file.")
    ] = None,
    style: Formatted = Style.terminal,
    caption: Caption = None,
    label: Label = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show the settings that each cell's search has chosen, or write them as a study without a search."""
    from wst.workflows.best import chosen_settings, study_without_search

    form = form_of(style, as_json, caption, label)
    if out is not None:
        check_output("-o", out, force=force)
    rows = chosen_settings(folder)
    if out is not None:
        study = study_without_search(folder)
        with replacing(out) as aside:
            aside.write_text(study, encoding="utf-8")
    if form.style == "json":
        print_json(rows)
    elif out is not None:
        print_line(f"study: {out} (wst tune {out})")
    else:
        names = ("task", "variant", "val", "settings", "from")
        cells: list[dict[str, tables.Cell]] = [
            {
                "task": row["task"],
                "variant": row["variant"],
                "val": _percent(row["val_top1"]),
                "settings": tables.Rounded(
                    tables.settings_in_words({n: [value] for n, value in row["settings"].items()}).shown,
                    json.dumps(row["settings"]),
                ),
                "from": (row["trial_id"] or "fixed") + (", shared" if row["shared"] else ""),
            }
            for row in rows
        ]
        columns = [tables.Column(name, "percent" if name == "val" else "text") for name in names]
        shared = "shared: one choice for all tasks, by the mean of val over them, which is shown"
        notes = [shared] * any(row["shared"] for row in rows)
        form.show(tables.Table("Chosen settings", columns, cells, notes, keys=2), console)
