"""The command line: one function a verb; it parses, calls and prints."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from wst.cli_analysis import Style, analysis_app, draw_pareto, show_leaderboard
from wst.cli_data import app as data_app
from wst.cli_export import export_app
from wst.cli_simulate import simulate_app
from wst.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Wavelet-based multi-scale tuning: studies, leaderboards, comparisons.",
)
app.add_typer(data_app, name="data")
app.add_typer(analysis_app)
app.add_typer(simulate_app)
app.add_typer(export_app, name="export")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A study's output folder.")]
Root = Annotated[str | None, typer.Option(help="Folder that holds the suite's folder.")]

# A pipe or a file has no width of its own, and lines may be longer there than on the narrowest terminal.
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)


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
        typer.Option(help="Also tell this tracker, such as tensorboard; may be given again."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a study, or go on with the one in the output folder."""
    from wst.study import load_study
    from wst.study.durations import parse_duration
    from wst.workflows.warm_start import resolve_warm_starts

    loaded = resolve_warm_starts(load_study(study, overrides=set_ or (), tasks=task or ()))
    folder = out or Path("runs") / loaded.name
    if dry_run:
        _print_costs(loaded, root, as_json)
        return
    try:
        limit = parse_duration(stop_after) if stop_after is not None else None
    except ValueError as error:
        raise InputError(f"--stop-after: {error}") from None
    _run(
        loaded, folder, root, address=address, stop_after=limit, retry_failed=retry_failed, track=track or ()
    )
    console.print(f"ledger: {folder / 'ledger'}", highlight=False, soft_wrap=True)
    if loaded.final:
        show_leaderboard([folder], as_json, console)


def _print_costs(study: Any, root: str | None, as_json: bool) -> None:
    from wst.progress import duration
    from wst.workflows.costs import expected_costs
    from wst.workflows.preflight import check

    costs = expected_costs(study, check(study, root))
    if as_json:
        _print_json([vars(cost) for cost in costs])
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
        table.add_row(
            cost.task, cost.variant, f"{cost.trainable:,}", *map(str, numbers), duration(cost.seconds)
        )
    console.print(table)
    total = duration(sum(cost.seconds for cost in costs))
    console.print(f"{total} on one slot like this machine's (timed here now; pruning as expected).")


def _run(study: Any, folder: Path, root: str | None = None, **options: Any) -> None:
    from wst.engine.faults import OutOfTime, StudyStoppedError
    from wst.workflows import tune as session

    try:
        planner = session.run_study(study, folder, root, console=console, **options)
    except OutOfTime:
        print(f"Stopped, as asked; the same command goes on with {folder}.", file=sys.stderr)
        raise typer.Exit(75) from None
    except KeyboardInterrupt:
        print(f"Stopped. The ledger is whole; the same command goes on with {folder}.", file=sys.stderr)
        raise typer.Exit(130) from None
    except StudyStoppedError as error:
        print(f"wst: {' '.join(str(error).split())}", file=sys.stderr)
        print(f"The ledger is whole; the same command goes on with {folder}.", file=sys.stderr)
        raise typer.Exit(1) from None
    ended = [t.outcome for cell in planner.cells.values() for trials in cell.ended.values() for t in trials]
    failed = sum(outcome.state == "failed" and outcome.attempts > 0 for outcome in ended)
    if failed:
        print(
            f"{failed} trials failed: see error_text in the ledger; --retry-failed runs them again.",
            file=sys.stderr,
        )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/demo"),
) -> None:
    """Tune WST and linear probing on the embedded default, and show what came out."""
    from wst.study import load_study

    _run(load_study("demo"), out)
    show_leaderboard([out], False, console)
    pictures = [out / f"pareto{ending}" for ending in (".png", ".svg", ".html")]
    for picture in pictures:
        draw_pareto([out], picture)
    board = out / "leaderboard.md"
    with board.open("w") as file:
        show_leaderboard([out], False, Console(file=file, width=200), style=Style.markdown)
    for what, where in (("ledger", out / "ledger"), ("leaderboard", board), ("picture", pictures[0])):
        console.print(f"{what}: {where}", highlight=False, soft_wrap=True)


@app.command()
def train(
    task: Annotated[str | None, typer.Option(help="Task to train on.")] = None,
    method: Annotated[str, typer.Option(help="Method.")] = "wst",
    suite: Annotated[str | None, typer.Option(help="Suite; the one that has the task by default.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A timm model name; 'micro' by default.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="The backbone's weights file.")] = None,
    normalisation: Annotated[str | None, typer.Option(help="checkpoint, half or imagenet.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe file, or the name of a shipped recipe.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs, in the recipe's place.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Hyperparameter.")
    ] = None,
    released: Annotated[
        bool, typer.Option("--released", help="The authors' settings, recipe and seed.")
    ] = False,
    final: Annotated[
        bool, typer.Option("--final", help="Train on all 1,000 images; read the test split.")
    ] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep the adapter (with --final).")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed.")] = None,
    trial: Annotated[str | None, typer.Option(help="Run this row of a ledger again.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="The study's folder, with --trial.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Fine-tune once, without a study; the row goes into a ledger of its own."""
    from wst.workflows import single as finetune

    before = None
    if trial is not None or from_ is not None:
        if trial is None or from_ is None:
            raise InputError("train: expected --trial and --from together; found one of them")
        study, intent, before = finetune.recorded(from_, trial)
        folder = out or Path("runs/rerun") / study.name / trial
    else:
        study, intent = finetune.from_options(
            task=task,
            method=method,
            assignments=set_ or [],
            released=released,
            recipe=recipe,
            epochs=epochs,
            seed=seed,
            stage="final" if final else "search",
            save_adapter=save,
            suite=suite,
            backbone=backbone,
            checkpoint=checkpoint,
            normalisation=normalisation,
        )
        folder = out or Path("runs/train") / f"{intent.trial_id}-{study.digest()}"
    try:
        outcome = finetune.run_single(
            study, intent, folder, root, Console(stderr=True) if as_json else console
        )
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last epoch.", file=sys.stderr)
        raise typer.Exit(130) from None
    _print_outcome(folder, intent, outcome, before, as_json)


def _print_outcome(folder: Path, intent: Any, outcome: Any, before: Any, as_json: bool) -> None:
    record = {
        "trial_id": intent.trial_id,
        "state": outcome.state,
        "val_top1": outcome.epochs[-1].val_top1 if outcome.epochs else None,
        "test_top1": outcome.test_top1,
        "trainable_parameters": outcome.trainable_parameters,
        "ledger": str(folder / "ledger"),
    }
    if before is not None:
        record["val_top1_before"] = before.epochs[-1].val_top1 if before.epochs else None
        record["test_top1_before"] = before.test_top1
    if as_json:
        _print_json(record)
    else:
        for name, value in record.items():
            if value is not None:
                console.print(f"{name}: {value}", highlight=False, soft_wrap=True)
    if outcome.state == "failed":
        print(f"wst: {outcome.error_type}: see error_text in the ledger", file=sys.stderr)
        raise typer.Exit(1)


_IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"}


@app.command()
def predict(
    adapter: Annotated[Path, typer.Argument(help="An adapter's .safetensors file.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")
    ],
    checkpoint: Annotated[str | None, typer.Option(help="The backbone's weights file.")] = None,
    any_backbone: Annotated[
        bool, typer.Option("--any-backbone", help="Accept other backbone weights.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Classes to print an image.")] = 3,
    as_json: Json = False,
) -> None:
    """Print the likeliest classes of images, with their probabilities."""
    from wst.models.adapters import load_adapter

    predictor = load_adapter(adapter, checkpoint=checkpoint, any_backbone=any_backbone)
    paths: list[Path] = []
    for given in images:
        inside = (
            sorted(p for p in given.rglob("*") if p.suffix.lower() in _IMAGE_ENDINGS)
            if given.is_dir()
            else [given]
        )
        if not inside:
            raise InputError(f"{given}: expected a folder with images; found none in it")
        paths += inside
    probabilities, classes = predictor.predict(paths).topk(min(top, predictor.card.classes))
    rows = [
        {"image": str(path), "classes": c, "probabilities": [round(p, 4) for p in ps]}
        for path, c, ps in zip(paths, classes.tolist(), probabilities.tolist(), strict=True)
    ]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        likely = "  ".join(
            f"{c} ({p:.2f})" for c, p in zip(row["classes"], row["probabilities"], strict=True)
        )
        console.print(f"{row['image']}: {likely}", highlight=False, soft_wrap=True)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """Show how far a study is: trials by cell, stage and state, the best so far, what is left."""
    from wst.ledger import history, resolved_study
    from wst.planning.planner import STAGES, Planner

    planner = Planner(resolved_study(folder), *history(folder))
    rows: list[dict[str, Any]] = []
    for cell in planner.cells.values():
        best = planner.best(cell)
        reads = [t.intent.trial_id for t in cell.ended["final"] if t.outcome.test_images is not None]
        stages = {
            s: f"{cell.count(s)}/{planner.planned(cell, s)}" for s in STAGES if planner.planned(cell, s)
        }
        rows.append(
            {
                "task": cell.task,
                "variant": cell.variant,
                **{stage: stages.get(stage, "-") for stage in STAGES},
                **{state: sum(cell.count(s, state) for s in STAGES) for state in ("pruned", "failed")},
                "begun": sum((i.task, i.variant) == (cell.task, cell.variant) for i in planner.interrupted),
                "left": planner.remaining(cell),
                "test reads": len(reads),
                "test read by": reads,
                "val200": best.val_top1 if best else None,
                "best settings": best.trial.intent.hyperparameters if best else None,
            }
        )
    if as_json:
        _print_json(rows)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    hidden = {"begun", "best settings", "test read by"}  # these are in --json
    hidden |= {stage for stage in STAGES if all(row[stage] == "-" for row in rows)}
    shown = [name for name in rows[0] if name not in hidden]
    for name in shown:
        table.add_column(name, justify="left" if name in ("task", "variant") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_status_text(row[name]) for name in shown))
    console.print(table)


def _status_text(value: object) -> str:
    if value is None or value == 0:
        return "-"
    if isinstance(value, float):
        return f"{100 * value:.1f}"
    return str(value)


@app.command()
def best(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("-o", "--output", help="Write a study file.")] = None,
    as_json: Json = False,
) -> None:
    """Show the settings that each cell's search has chosen, or write them as a study without a search."""
    from wst.workflows.best import chosen_settings, study_without_search

    rows, study = chosen_settings(folder), None
    if out is not None:
        study = study_without_search(folder)
        out.write_text(study)
    if as_json:
        _print_json(rows)
    elif out is not None:
        console.print(f"study: {out} (wst tune {out})", highlight=False, soft_wrap=True)
    else:
        table = Table("task", "variant", "val200", "settings", "from", box=box.SIMPLE_HEAD)
        for row in rows:
            settings = ", ".join(f"{name} {value}" for name, value in row["settings"].items())
            table.add_row(
                row["task"],
                row["variant"],
                _status_text(row["val_top1"]),
                settings,
                row["trial_id"] or "fixed",
            )
        console.print(table)


@app.command("ls")
def list_known(
    what: Annotated[str, typer.Argument(help="tasks, suites, backbones, methods, spaces or studies")],
    as_json: Json = False,
) -> None:
    """List what there is."""
    from wst.data.suites import suites
    from wst.methods import registry as methods
    from wst.shipped import shipped_names

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
