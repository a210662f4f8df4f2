"""``wst data``: make, verify and describe suites of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress as Bar

from wst.cli import completion
from wst.cli.failures import say
from wst.cli.output import (
    Force,
    Json,
    Root,
    Tasks,
    add_row,
    as_path,
    console,
    error_console,
    narrow_table,
    print_json,
    print_line,
)
from wst.errors import InputError
from wst.files import is_file, is_folder
from wst.screen import printable
from wst.suggest import one_of
from wst.workflows.outputs import check_output

if TYPE_CHECKING:
    from wst.data.check.report import TaskReport
    from wst.data.splits import TaskData
    from wst.data.tasks import Suite, Task

data_app = typer.Typer(no_args_is_help=True, help="Make, verify and describe suites of tasks.")

SuiteName = Annotated[
    str,
    typer.Argument(
        metavar="SUITE", help="vtab1k, mini, or a path of your own.", autocompletion=completion.suites
    ),
]
Background = Annotated[
    str | None, typer.Option(metavar="COLOUR", help="Colour that transparent pictures are laid on.")
]
Jobs = Annotated[int | None, typer.Option(min=1, max=1024, help="Parallel threads; one a CPU by default.")]


def _opened(
    name: str, root: str | None, tasks: list[str] | None, background: str | None
) -> tuple[Suite, list[TaskData]]:
    from wst.data.decode import opaque_colour
    from wst.data.splits import TaskData, data_root
    from wst.data.suites import find_suite

    suite = find_suite(name)
    chosen = [suite.task(task) for task in tasks] if tasks else suite.tasks
    where = data_root(suite, root)
    try:
        colour = None if background is None else opaque_colour(background)
    except InputError as error:
        raise InputError(f"--background: {error}") from None
    return suite, [TaskData.of(where, suite, task, colour) for task in chosen]


@contextmanager
def _bar(text: str) -> Iterator[tuple[Bar, Any]]:
    """A progress bar on stderr, so that stdout holds the result alone."""
    with Bar(console=error_console, transient=True, disable=not error_console.is_terminal) as bar:
        yield bar, bar.add_task(text, total=None)


@data_app.command()
def check(
    suite: SuiteName = "vtab1k",
    root: Root = None,
    task: Tasks = None,
    background: Background = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Look at every list line and every image; exit status 1 if a task cannot be used."""
    from wst.data.check.check import check_tasks

    _, tasks = _opened(suite, root, task, background)
    with _bar("images") as (bar, line):
        reports = check_tasks(
            tasks,
            jobs,
            lambda total: bar.update(line, total=total),
            lambda count: bar.advance(line, count),
        )
    _show_reports(reports, as_json)


def _show_reports(reports: Sequence[TaskReport], as_json: bool) -> None:
    if as_json:
        print_json([report.as_record() for report in reports])
    else:
        table = narrow_table()
        for name in ("task", "train", "val", "test", "encoding", "pixels", "data hash", "use"):
            right = name in ("train", "val", "test")
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for report in reports:
            sizes = (report.sizes.get(split, 0) for split in ("train", "val", "test"))
            add_row(
                table,
                report.task,
                *(f"{size:,}" for size in sizes),
                report.encoding,
                report.image_size,
                (report.data_hash or "-")[:12],
                "yes" if report.usable else "NO",
            )
        console.print(table)
        for report in reports:
            for finding in report.findings:
                print_line(f"{report.task}: {finding}")
    unusable = [report.task for report in reports if not report.usable]
    if unusable:
        say(f"not usable: {', '.join(unusable)}")
        raise typer.Exit(1)


@data_app.command()
def build(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="vtab1k or mini.", autocompletion=completion.suites)
    ],
    root: Annotated[
        Path, typer.Option(parser=as_path, help="Folder that will hold the suite's folder.")
    ] = Path("data"),
    task: Tasks = None,
    archives: Annotated[
        Path | None,
        typer.Option(parser=as_path, help="Folder of downloaded archives; ROOT/archives by default."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="List what to download, and stop.")] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch archives that have a direct address.")
    ] = False,
    from_folder: Annotated[
        Path | None,
        typer.Option("--from-folder", parser=as_path, help="Adopt an export in VTAB-1K's layout."),
    ] = None,
    manifest: Annotated[Path | None, typer.Option(parser=as_path, help="The split of caltech101.")] = None,
    original: Annotated[
        bool, typer.Option("--original", help="Keep the bytes of picture files; else lossless PNG.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is in the place of mini, whoever made it.")
    ] = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Make a suite's folder; a build that was cut off goes on."""
    from wst.data.suites import suites

    if suite not in suites():
        raise InputError(f"suite: {one_of(suite, suites())}")
    found = suites()[suite]
    tasks = [found.task(name) for name in task] if task else list(found.tasks)
    if found.build is not None:
        where = found.build(root, force)
        if as_json:
            print_json([{"suite": suite, "folder": str(where)}])
        else:
            print_line(f"built {where}")
        return
    below = archives or root / "archives"
    if explain:
        _explain(tasks, below, as_json)
    elif from_folder is not None:
        from wst.data.vtab1k.adopt import adopt

        with _bar("images") as (bar, line):
            reports = adopt(
                from_folder,
                found,
                tasks,
                root,
                jobs,
                lambda total: bar.update(line, total=total),
                lambda count: bar.advance(line, count),
            )
        _show_reports(reports, as_json)
    else:
        if archives is not None and not download and not is_folder(archives):
            raise InputError(f"--archives: expected a folder; found none at {archives}")
        if manifest is not None and not is_file(manifest):
            raise InputError(f"--manifest: expected a file; found none at {manifest}")
        _build_all(found, tasks, root, below, download, original, manifest, jobs, as_json)


def _build_all(
    suite: Suite,
    tasks: Sequence[Task],
    root: Path,
    archives: Path,
    download: bool,
    original: bool,
    manifest: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Build data set by data set; one that cannot be built does not keep the others from it."""
    from wst.data.vtab1k.archives import fetch
    from wst.data.vtab1k.builder import Options, Progress, build_source, sources_of

    rows: list[dict[str, Any]] = []
    with _bar("") as (bar, line):

        def say(text: str) -> None:
            bar.update(line, description=escape(printable(text)))

        progress = Progress(
            say,
            lambda total: bar.reset(line, total=total),
            lambda count: bar.advance(line, count),
        )
        for source, members in sources_of(tasks).items():
            try:
                if download:
                    fetch(source, archives, say)
                built = build_source(
                    source, suite, members, root, archives, Options(original, manifest, jobs), progress
                )
            except InputError as error:
                rows += [{"task": t.name, "state": "failed", "reason": str(error)} for t in members]
                continue
            for one in built:
                state = "built" if one.made else "there already"
                hashes = {"data_hash": one.record["data_hash"], "encoding": one.record["encoding"]}
                rows.append({"task": one.task, "state": state, "folder": str(one.folder), **hashes})
    if as_json:
        print_json(rows)
    else:
        table = narrow_table("task", "state", "encoding", "data hash")
        for row in rows:
            add_row(
                table, row["task"], row["state"], row.get("encoding", "-"), row.get("data_hash", "-")[:12]
            )
        console.print(table)
        for row in rows:
            if "reason" in row:
                print_line(f"{row['task']}: {row['reason']}")
    if any(row["state"] == "failed" for row in rows):
        say("some tasks could not be built; --explain lists what each needs")
        raise typer.Exit(1)


def _explain(tasks: Sequence[Task], archives: Path, as_json: bool) -> None:
    from wst.data.vtab1k.builder import sources_of

    rows: list[dict[str, Any]] = [
        {
            "tasks": [task.name for task in members],
            "source": source.name,
            "folder": str(archives / source.name),
            "files": [asdict(archive) for archive in source.archives],
            "licence": members[0].licence,
            "note": source.note,
        }
        for source, members in sources_of(tasks).items()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{', '.join(row['tasks'])}  (licence: {row['licence']})")
        print_line(f"  put into {row['folder']}:")
        for file in row["files"]:
            size = _bytes(file["size"]) if file["size"] else "size not known"
            how = "" if file["direct"] else ", by hand: needs an account or a form"
            print(f"    {file['name']}  ({size}{how})\n      {file['url']}")
        if row["note"]:
            print(f"  {row['note']}")
        print()
    total = sum(file["size"] or 0 for row in rows for file in row["files"])
    print(f"{total / 1e9:.1f} GB in all, besides the files of unknown size.  Direct addresses: --download.")


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


@data_app.command()
def info(
    suite: SuiteName = "vtab1k",
    root: Root = None,
    task: Tasks = None,
    background: Background = None,
    sheet: Annotated[
        Path | None,
        typer.Option(parser=as_path, help="Write sample images of every class to this PNG or HTML file."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show what is there: tasks, sizes, classes, hashes, and samples on request."""
    from wst.data.check.contact_sheet import contact_sheet
    from wst.data.check.describe import describe

    if sheet is not None:
        check_output("--sheet", sheet, force=force, endings=(".png", ".html"))
    opened, tasks = _opened(suite, root, task, background)
    found = describe(tasks)
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        table = narrow_table()
        for name in ("task", "classes", "train", "val", "test", "data hash", "state"):
            right, fixed = name in ("classes", "train", "val", "test"), name != "state"
            table.add_column(name, justify="right" if right else "left", no_wrap=fixed, overflow="fold")
        for row in found:
            sizes = ("-" if size is None else f"{size:,}" for size in (row.train, row.val, row.test))
            add_row(
                table,
                row.task,
                str(row.classes),
                *sizes,
                (row.data_hash or "-")[:12],
                row.state,
            )
        console.print(table)
    if sheet is not None:
        ready = {row.task for row in found if row.state == "ready"}
        shown = [data for data in tasks if data.task.name in ready]
        if not shown:
            looked = tasks[0].folder.parent
            raise InputError(f"--sheet: expected at least one task with data in {looked}; found none")
        written = contact_sheet(opened.name, shown, sheet)
        print_line(f"samples: {written}", error_console if as_json else console)


@data_app.command()
def cache(
    show: Annotated[bool, typer.Option("--show", help="List what is in it (the default).")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove it all.")] = False,
    as_json: Json = False,
) -> None:
    """Show or clear the cache of decoded splits and features."""
    from wst.data import entries as decoded
    from wst.data.memo import cache_folder

    if clear:
        freed = decoded.clear()
        if as_json:
            print_json({"folder": str(cache_folder()), "freed": freed})
        else:
            print_line(f"freed {freed / 1e6:,.1f} MB in {cache_folder()}")
        if not show:
            return
    found = decoded.entries()
    total, limit = sum(entry.size for entry in found), decoded.cache_limit()
    if as_json:
        rows = [{**asdict(entry), "folder": str(entry.folder)} for entry in found]
        print_json({"folder": str(cache_folder()), "limit": limit, "size": total, "entries": rows})
        return
    table = narrow_table()
    table.add_column("made from", overflow="fold")
    for name in ("images", "MB", "last used"):
        table.add_column(name, justify="left" if name == "last used" else "right", no_wrap=True)
    for entry in reversed(found):
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        add_row(table, entry.source, f"{entry.images:,}", f"{entry.size / 1e6:,.1f}", used)
    console.print(table)
    print_line(f"{total / 1e9:.2f} of {limit / 1e9:.0f} GB in {cache_folder()} (WST_CACHE_LIMIT, WST_CACHE)")
