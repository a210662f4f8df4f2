"""The verbs that read ledgers: each parses, calls the analysis and prints."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from analysis import tables
from wst.cli.output import (
    Force,
    Formatted,
    Json,
    Style,
    Tasks,
    as_file,
    as_path,
    console,
    print_json,
    print_line,
)
from wst.errors import InputError
from wst.records import Tuning
from wst.screen import printable
from wst.workflows.outputs import check_output, whole

analysis_app = typer.Typer()


class Against(StrEnum):
    """What accuracy is set against."""

    parameters = "parameters"
    seconds = "seconds"
    memory = "memory"


class Evaluator(StrEnum):
    """How importances are computed."""

    ped_anova = "ped-anova"
    fanova = "fanova"


Folders = Annotated[
    list[Path], typer.Argument(metavar="DIR...", parser=as_path, help="Output folders of studies.")
]
Settings = Annotated[
    Tuning | None,
    typer.Option(
        "--settings",
        help="Only variants with a search for each task, one for all tasks, or none of their own.",
    ),
]
Literature = Annotated[bool, typer.Option("--literature", help="Add published results, marked as such.")]


Columns = Annotated[
    str | None, typer.Option("--columns", metavar="NAME,NAME", help="Only these columns, in this order.")
]


def _print(table: tables.Table, style: Style, as_json: bool, console: Console = console) -> None:
    tables.show(table, "json" if as_json else style.value, console)


def _with_columns(table: tables.Table, columns: str | None) -> tables.Table:
    """The table with the columns that were asked for."""
    return table if columns is None else tables.of_columns(table, columns.split(","))


def show_leaderboard(
    folders: list[Path],
    as_json: bool,
    console: Console,
    *,
    style: Style = Style.terminal,
    tasks: list[str] | None = None,
    literature: bool = False,
    settings: Tuning | None = None,
    columns: str | None = None,
) -> None:
    """Print the leaderboard of these studies: on a terminal with variants as columns, else as rows."""
    from analysis.leaderboard import board as leaderboard
    from analysis.leaderboard import published
    from analysis.leaderboard import table as leaderboard_table

    ours = leaderboard.read_leaderboard(folders, tasks or (), settings)
    board = published.with_published(ours) if literature else ours
    table = _with_columns(leaderboard_table.as_table(board), columns)
    if as_json or style is Style.json:
        found = tables.as_json(
            table,
            suite=board.suite.name,
            trials=leaderboard_table.trial_ids(board),
            **{
                "test reads": leaderboard_table.reads_by_task(board),
                "test reads by others": leaderboard_table.reads_by_others(board),
                "test overlap": board.overlaps(),
            },
        )
        print(found, file=console.file)
    elif style is not Style.terminal or columns is not None:
        _print(table, style, False, console)
    else:
        drawn = [tables.transposed(leaderboard_table.without_settings(ours))]
        if tables.narrowest(drawn[0], console) > console.width:  # too many variants for columns
            drawn = tables.terminal(leaderboard_table.accuracies(ours), console.width)
        if literature:
            drawn += tables.terminal(leaderboard_table.averages_table(board), console.width)
        for part in drawn:
            console.print(part)
        for note in table.notes:
            console.print(Text(printable(note)))


def leaderboard_rows(folder: Path) -> list[dict[str, Any]]:
    """The leaderboard of a study as plain rows; none where nothing was tested."""
    from analysis.leaderboard.board import read_leaderboard
    from analysis.leaderboard.table import as_table

    try:
        return tables.flat_rows(as_table(read_leaderboard([folder])))
    except InputError:
        return []


def draw_pareto(folders: list[Path], path: Path) -> None:
    """Draw accuracy (mean of groups) against trainable parameters, with the front."""
    from analysis.figures.pareto import draw
    from analysis.leaderboard.board import read_leaderboard
    from analysis.pareto import front

    found = front(read_leaderboard(folders))
    with whole(path) as aside:
        draw(found, aside)


@analysis_app.command()
def leaderboard(
    folders: Folders,
    style: Formatted = Style.terminal,
    task: Tasks = None,
    literature: Literature = False,
    settings: Settings = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="A row a method: its tuned, shared and untuned variants.")
    ] = False,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Show test accuracies of the final stage: per task, group means, both averages, parameters, seeds."""
    if side_by_side:
        from analysis.leaderboard.side_by_side import read_side_by_side

        if literature or settings:
            raise InputError("--side-by-side: expected neither --literature nor --settings beside it")
        _print(_with_columns(read_side_by_side(folders, task or ()), columns), style, as_json)
        return
    show_leaderboard(
        folders,
        as_json,
        console,
        style=style,
        tasks=task,
        literature=literature,
        settings=settings,
        columns=columns,
    )


@analysis_app.command()
def pareto(
    folders: Folders,
    out: Annotated[Path, typer.Option("-o", parser=as_file, help="PNG, SVG, PDF or HTML file.")] = Path(
        "pareto.png"
    ),
    over: Annotated[
        str, typer.Option(help="'mean of groups', 'mean of tasks', a group, or a task.")
    ] = "mean of groups",
    against: Annotated[Against, typer.Option(help="What accuracy is set against.")] = Against.parameters,
    literature: Literature = False,
    settings: Settings = None,
    columns: Columns = None,
    style: Formatted = Style.terminal,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw accuracy against parameters, training seconds or peak memory, with the front."""
    from analysis.figures.pareto import FORMATS, draw
    from analysis.leaderboard.board import read_leaderboard
    from analysis.leaderboard.published import with_published
    from analysis.pareto import as_table, front

    check_output("-o", out, force=force, endings=FORMATS)
    board = read_leaderboard(folders, tuning=settings)
    found = front(with_published(board) if literature else board, over, against.value)
    table = _with_columns(as_table(found), columns)
    with whole(out) as aside:
        draw(found, aside)
    _print(table, style, as_json)


@analysis_app.command()
def ablation(
    folders: Folders,
    baseline: Annotated[str | None, typer.Option(help="Variant that the others are compared with.")] = None,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Compare every two variants: a matrix (CSV and JSON: a row a pair)."),
    ] = False,
    settings: Settings = None,
    columns: Columns = None,
    style: Formatted = Style.terminal,
    as_json: Json = False,
) -> None:
    """Compare variants paired by task and seed, and say which differences are inside the noise."""
    if pairs:
        from analysis.pairs import as_list, as_matrix, read_pairs

        if baseline is not None:
            raise InputError("--pairs: expected no --baseline beside it")
        found = read_pairs(folders, settings)
        listed = as_json or style in (Style.csv, Style.json)
        _print(_with_columns(as_list(found) if listed else as_matrix(found), columns), style, as_json)
        return
    from analysis.ablation import as_table, read_ablation

    _print(_with_columns(as_table(read_ablation(folders, baseline, settings)), columns), style, as_json)


@analysis_app.command()
def importance(
    folders: Folders,
    method: Annotated[Evaluator, typer.Option(help="fanova needs scikit-learn.")] = Evaluator.ped_anova,
    style: Formatted = Style.terminal,
    as_json: Json = False,
) -> None:
    """Show which hyperparameters mattered in the search, and how sure its choices were."""
    from analysis.load import common_suite, studies_of
    from analysis.search import agreement, confirmation, selection
    from analysis.search import importance as importances
    from analysis.search.trials import read_search

    studies = studies_of(folders)
    trials, later = read_search(folders, studies)
    table = importances.as_table(importances.importances(trials, studies, method.value), method.value)
    suite = common_suite(studies, folders)
    choices = selection.selection_table(selection.selections(trials, later, suite, studies))
    confirmed = confirmation.as_table(confirmation.confirmations(trials, later, studies))
    held = agreement.agreement(trials, later)
    if as_json or style is Style.json:
        found = {
            "importance": json.loads(tables.as_json(table)),
            "selection": json.loads(tables.as_json(choices)),
            "confirmation": json.loads(tables.as_json(confirmed)),
            "validation against test": vars(held),
        }
        print_json(found)
        return
    for one in (table, choices, *([confirmed] if confirmed.rows else [])):
        _print(one, style, False)
    if style is Style.terminal:
        print_line(agreement.in_words(held))


@analysis_app.command()
def report(
    folders: Folders,
    out: Annotated[Path, typer.Option("-o", parser=as_file, help="HTML file.")] = Path("report.html"),
    literature: Literature = False,
    force: Force = False,
) -> None:
    """Write one self-contained page about the studies."""
    from analysis.report.sections import write_report

    check_output("-o", out, force=force, endings=(".html", ".htm"))
    write_report(folders, out, literature)
    print_line(f"report: {out}")
