"""The verbs that read ledgers: each parses, calls the analysis and prints."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from analysis import tables
from wst.cli.output import Formatted, Json, Style, Tasks, as_file, as_path, console, print_json, print_line
from wst.cli.outputs import Force, check_output, whole
from wst.screen import printable

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
Literature = Annotated[bool, typer.Option("--literature", help="Add published results, marked as such.")]


def _print(table: tables.Table, style: Style, as_json: bool, console: Console = console) -> None:
    tables.show(table, "json" if as_json else style.value, console)


def show_leaderboard(
    folders: list[Path],
    as_json: bool,
    console: Console,
    *,
    style: Style = Style.terminal,
    tasks: list[str] | None = None,
    literature: bool = False,
) -> None:
    """Print the leaderboard of these studies: on a terminal with variants as columns, else as rows."""
    from analysis.leaderboard import board as leaderboard
    from analysis.leaderboard import published
    from analysis.leaderboard import table as leaderboard_table

    ours = leaderboard.read_leaderboard(folders, tasks or ())
    board = published.with_published(ours) if literature else ours
    table = leaderboard_table.as_table(board)
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
    elif style is not Style.terminal:
        _print(table, style, False, console)
    else:
        console.print(tables.transposed(leaderboard_table.without_settings(ours)))
        if literature:
            console.print(tables.terminal(leaderboard_table.averages_table(board)))
        for note in table.notes:
            console.print(Text(printable(note)))


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
    as_json: Json = False,
) -> None:
    """Show test accuracies of the final stage: per task, group means, both averages, parameters, seeds."""
    show_leaderboard(folders, as_json, console, style=style, tasks=task, literature=literature)


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
    board = read_leaderboard(folders)
    found = front(with_published(board) if literature else board, over, against.value)
    with whole(out) as aside:
        draw(found, aside)
    _print(as_table(found), style, as_json)


@analysis_app.command()
def ablation(
    folders: Folders,
    baseline: Annotated[str | None, typer.Option(help="Variant that the others are compared with.")] = None,
    style: Formatted = Style.terminal,
    as_json: Json = False,
) -> None:
    """Compare variants paired by task and seed, and say which differences are inside the noise."""
    from analysis.ablation import as_table, read_ablation

    _print(as_table(read_ablation(folders, baseline)), style, as_json)


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
