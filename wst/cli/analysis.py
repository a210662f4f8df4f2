"""The verbs that read ledgers: each parses, calls the analysis and prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from analysis import tables
from wst.cli.output import (
    Caption,
    Force,
    Form,
    Formatted,
    Json,
    Label,
    Style,
    Tasks,
    as_file,
    as_path,
    console,
    form_of,
    print_json,
    print_line,
)
from wst.errors import InputError
from wst.records import Tuning
from wst.screen import printable
from wst.workflows.outputs import check_output, whole

if TYPE_CHECKING:
    from analysis.sameness import Aspect

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


class Part(StrEnum):
    """The tables on a search."""

    importance = "importance"
    selection = "selection"
    confirmation = "confirmation"


class Unlike(StrEnum):
    """In what variants that are compared may differ."""

    recipe = "recipe"
    epochs = "epochs"
    backbone = "backbone"
    weights = "weights"
    normalisation = "normalisation"
    preprocessing = "preprocessing"
    precision = "precision"
    budget = "budget"
    data = "data"


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


Across = Annotated[
    list[Unlike] | None,
    typer.Option("--across", help="Compare variants that differ in this, too; may be given again."),
]
Columns = Annotated[
    str | None, typer.Option("--columns", metavar="NAME,NAME", help="Only these columns, in this order.")
]


def _with_columns(table: tables.Table, columns: str | None) -> tables.Table:
    """The table with the columns that were asked for."""
    return table if columns is None else tables.of_columns(table, columns.split(","))


def show_leaderboard(
    folders: list[Path],
    form: Form,
    console: Console,
    *,
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
    if form.style == "json":
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
    elif form.style != "terminal" or columns is not None:
        form.show(table, console)
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
    caption: Caption = None,
    label: Label = None,
    as_json: Json = False,
) -> None:
    """Show test accuracies of the final stage: per task, group means, both averages, parameters, seeds."""
    form = form_of(style, as_json, caption, label)
    if side_by_side:
        from analysis.leaderboard.side_by_side import read_side_by_side

        if literature or settings:
            raise InputError("--side-by-side: expected neither --literature nor --settings beside it")
        form.show(_with_columns(read_side_by_side(folders, task or ()), columns), console)
        return
    show_leaderboard(
        folders,
        form,
        console,
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
    caption: Caption = None,
    label: Label = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw accuracy against parameters, training seconds or peak memory, with the front."""
    from analysis.figures.pareto import FORMATS, draw
    from analysis.leaderboard.board import read_leaderboard
    from analysis.leaderboard.published import with_published
    from analysis.pareto import as_table, front

    form = form_of(style, as_json, caption, label)
    check_output("-o", out, force=force, endings=FORMATS)
    board = read_leaderboard(folders, tuning=settings)
    found = front(with_published(board) if literature else board, over, against.value)
    table = _with_columns(as_table(found), columns)
    with whole(out) as aside:
        draw(found, aside)
    form.show(table, console)


@analysis_app.command()
def ablation(
    folders: Folders,
    baseline: Annotated[str | None, typer.Option(help="Variant that the others are compared with.")] = None,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Compare every two variants: a matrix (CSV and JSON: a row a pair)."),
    ] = False,
    settings: Settings = None,
    across: Across = None,
    columns: Columns = None,
    style: Formatted = Style.terminal,
    caption: Caption = None,
    label: Label = None,
    as_json: Json = False,
) -> None:
    """Compare variants paired by task and seed, and say which differences are inside the noise."""
    form = form_of(style, as_json, caption, label)
    wanted: list[Aspect] = [unlike.value for unlike in across or ()]
    if pairs:
        from analysis.pairs import as_list, as_matrix, read_pairs

        if baseline is not None:
            raise InputError("--pairs: expected no --baseline beside it")
        found = read_pairs(folders, settings, wanted)
        table = as_list(found) if form.style in ("csv", "json") else as_matrix(found)
        form.show(_with_columns(table, columns), console)
        return
    from analysis.ablation import as_table, read_ablation

    compared = read_ablation(folders, baseline, settings, wanted)
    form.show(_with_columns(as_table(compared), columns), console)


@analysis_app.command()
def importance(
    folders: Folders,
    method: Annotated[Evaluator, typer.Option(help="fanova needs scikit-learn.")] = Evaluator.ped_anova,
    table: Annotated[
        Part | None, typer.Option("--table", help="Only this table; CSV and LaTeX take one.")
    ] = None,
    style: Formatted = Style.terminal,
    caption: Caption = None,
    label: Label = None,
    as_json: Json = False,
) -> None:
    """Show which hyperparameters mattered in the search, and how sure its choices were."""
    from analysis.load import common_suite, studies_of
    from analysis.search import agreement, confirmation, selection
    from analysis.search import importance as importances
    from analysis.search.trials import read_search

    form = form_of(style, as_json, caption, label)
    if table is None and form.style in ("csv", "latex"):
        raise InputError(f"--format {form.style}: expected --table {', '.join(Part)} beside it; found none")
    studies = studies_of(folders)
    trials, later = read_search(folders, studies)
    suite = common_suite(studies, folders)
    makers: dict[Part, Callable[[], tables.Table]] = {
        Part.importance: lambda: importances.as_table(
            importances.importances(trials, studies, method.value), method.value
        ),
        Part.selection: lambda: selection.selection_table(
            selection.selections(trials, later, suite, studies)
        ),
        Part.confirmation: lambda: confirmation.as_table(confirmation.confirmations(trials, later, studies)),
    }
    if table is not None:
        form.show(makers[table](), console)
        return
    made = {part: make() for part, make in makers.items()}
    held = agreement.agreement(trials, later)
    if form.style == "json":
        found = {part.value: json.loads(tables.as_json(one)) for part, one in made.items()}
        print_json(found | {"validation against test": vars(held)})
        return
    for part, one in made.items():
        if one.rows or part is not Part.confirmation:
            form.show(one, console)
    if form.style == "terminal":
        print_line(agreement.in_words(held))


@analysis_app.command()
def report(
    folders: Folders,
    out: Annotated[Path, typer.Option("-o", parser=as_file, help="HTML file.")] = Path("report.html"),
    literature: Literature = False,
    watch: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=86_400,
            help="Make it again so often, if a ledger has changed, until all trials have ended.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Write one self-contained page about the studies."""
    from analysis.report.sections import write_report
    from analysis.report.watch import watch_report

    check_output("-o", out, force=force, endings=(".html", ".htm"))
    if watch is not None:
        watch_report(folders, out, watch, literature, told=print_line)
        return
    write_report(folders, out, literature)
    print_line(f"report: {out}")
