"""The command line: one function a verb; it parses, calls and prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from wst.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Wavelet-based multi-scale tuning: studies, leaderboards, comparisons.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make and inspect suites of tasks.")
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A study's output folder.")]
Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Output folders of studies.")]
Root = Annotated[str | None, typer.Option(help="Folder that holds the suite's folder.")]

console = Console()


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


@app.command()
def tune(
    study: Annotated[str, typer.Argument(help="A study file, or the name of a shipped study.")],
    out: Annotated[
        Path | None, typer.Option(help="Output folder; runs/<name of the study> by default.")
    ] = None,
    root: Root = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run and what it would cost.")
    ] = False,
    task: Annotated[list[str] | None, typer.Option(help="Run this task only; may be given again.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Address of a running Ray cluster.")] = None,
    as_json: Json = False,
) -> None:
    """Start a study, or go on with the one in the output folder."""
    from wst import session
    from wst.study import load_study

    loaded = load_study(study, overrides=set_ or (), tasks=task or ())
    folder = out or Path("runs") / loaded.name
    if dry_run:
        _print_costs(loaded, root, as_json)
        return
    _run(session.run_study, loaded, folder, root, address)
    console.print(f"ledger: {folder / 'ledger'}", highlight=False, soft_wrap=True)
    if loaded.final:
        leaderboard([folder], as_json)


def _print_costs(study: Any, root: str | None, as_json: bool) -> None:
    from wst import session
    from wst.progress import duration

    costs = session.expected_costs(study, session.check(study, root))
    if as_json:
        _print_json([vars(cost) for cost in costs])
        return
    table = Table(
        "task",
        "variant",
        "trainable",
        "search",
        "epochs",
        "final",
        "epochs",
        "slot time",
        box=box.SIMPLE_HEAD,
    )
    for cost in costs:
        numbers = (cost.search_trials, round(cost.search_epochs), cost.final_trials, cost.final_epochs)
        table.add_row(
            cost.task, cost.variant, f"{cost.trainable:,}", *map(str, numbers), duration(cost.seconds)
        )
    console.print(table)
    total = duration(sum(cost.seconds for cost in costs))
    console.print(f"{total} on one slot like this machine's (timed here now; pruning as expected).")


def _run(run: Any, study: Any, folder: Path, root: str | None, address: str | None) -> None:
    from wst.engine import StudyInterrupted

    try:
        run(study, folder, root, address, console)
    except StudyInterrupted:
        print(f"Stopped. The ledger is whole; the same command goes on with {folder}.", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/demo"),
) -> None:
    """Tune WST and linear probing on the embedded default, and show what came out."""
    from wst import session
    from wst.study import load_study

    _run(session.run_study, load_study("demo"), out, None, None)
    leaderboard([out], as_json=False)
    pictures = [out / f"pareto{ending}" for ending in (".png", ".svg", ".html")]
    for picture in pictures:
        pareto([out], picture)
    board = out / "leaderboard.md"
    from analysis.leaderboard import markdown

    board.write_text(markdown(_board([out])) + "\n")
    for what, where in (("ledger", out / "ledger"), ("leaderboard", board), ("picture", pictures[0])):
        console.print(f"{what}: {where}", highlight=False, soft_wrap=True)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """Show how far a study is: trials by cell, stage and state, the best so far, what is left."""
    from wst.ledger import history, resolved_study
    from wst.planner import Planner

    study = resolved_study(folder)
    planner = Planner(study, *history(folder))
    rows = []
    for cell in planner.cells.values():
        best = cell.best()
        rows.append(
            {
                "task": cell.task,
                "variant": cell.variant,
                "search": f"{cell.count('search')}/{cell.planned['search']}",
                "final": f"{cell.count('final')}/{cell.planned['final']}",
                **{
                    state: sum(cell.count(stage, state) for stage in ("search", "final"))
                    for state in ("pruned", "failed")
                },
                "begun": sum((i.task, i.variant) == (cell.task, cell.variant) for i in planner.interrupted),
                "left": planner.remaining(cell),
                "test reads": sum(t.outcome.test_images is not None for t in cell.ended),
                "val200": best.outcome.epochs[-1].val_top1 if best else None,
                "best settings": best.intent.hyperparameters if best else None,
            }
        )
    if as_json:
        _print_json(rows)
        return
    table = Table(box=box.SIMPLE_HEAD)
    shown = [name for name in rows[0] if name != "best settings"]  # too wide for a terminal
    for name in shown:
        table.add_column(name, justify="left" if name in ("task", "variant") else "right")
    for row in rows:
        table.add_row(*(_status_text(row[name]) for name in shown))
    console.print(table)


def _status_text(value: object) -> str:
    if value is None or value == 0:
        return "-"
    if isinstance(value, float):
        return f"{100 * value:.1f}"
    return str(value)


@data_app.command("build")
def data_build(
    suite: Annotated[str, typer.Argument(help="The suite to make; 'mini' is embedded.")],
    root: Annotated[Path, typer.Option(help="Folder that will hold the suite's folder.")] = Path("data"),
) -> None:
    """Make a suite's folder."""
    from wst.data.mini import build_mini

    if suite != "mini":
        raise InputError(
            f"suite: expected 'mini', the one that can be made from what is embedded; found {suite!r}"
        )
    console.print(f"built {build_mini(root)}", highlight=False, soft_wrap=True)


def _board(folders: list[Path]) -> Any:
    from analysis.leaderboard import leaderboard as compute
    from analysis.load import common_suite, load
    from wst.ledger import resolved_study

    studies = {study.name: study.tasks for study in map(resolved_study, folders)}
    return compute(load(folders), common_suite(folders), studies)


@app.command()
def leaderboard(folders: Folders, as_json: Json = False) -> None:
    """Show test accuracies of the final stage: per task, group means, both averages, parameters, seeds."""
    from analysis.leaderboard import as_records, render

    board = _board(folders)
    if as_json:
        _print_json({"suite": board.suite.name, "caveats": board.caveats(), "rows": as_records(board)})
    else:
        console.print(render(board))
        for line in board.caveats():
            console.print(line, highlight=False)


@app.command()
def pareto(
    folders: Folders,
    out: Annotated[Path, typer.Option("-o", help="PNG, SVG, PDF or HTML file.")] = Path("pareto.png"),
    as_json: Json = False,
) -> None:
    """Draw accuracy against trainable parameters, with the front."""
    from analysis.pareto import draw, front

    board = _board(folders)
    points = front(board)
    draw(points, board, out)
    if as_json:
        _print_json([vars(point) for point in points])


@app.command("ls")
def list_known(
    what: Annotated[str, typer.Argument(help="tasks, suites, backbones, methods, spaces or studies")],
    as_json: Json = False,
) -> None:
    """List what there is."""
    from wst import methods
    from wst.data.tasks import suites
    from wst.resources import shipped_names

    known: dict[str, Any] = {
        "tasks": lambda: [f"{s.name}/{t.name}" for s in suites().values() for t in s.tasks],
        "suites": lambda: list(suites()),
        "backbones": lambda: ["micro", "any timm VisionTransformer with --set checkpoint=FILE"],
        "methods": methods.names,
        "spaces": lambda: shipped_names("search_spaces"),
        "studies": lambda: shipped_names("studies"),
    }
    if what not in known:
        raise InputError(f"ls: expected one of {', '.join(known)}; found {what!r}")
    found = known[what]()
    if as_json:
        _print_json(found)
    else:
        print("\n".join(found))


def main() -> NoReturn:
    """Entry point: bad input gets one line on stderr and exit status 2."""
    try:
        app()
    except InputError as error:
        print(f"wst: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
