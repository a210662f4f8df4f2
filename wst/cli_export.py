"""``wst export``: a study's ledger for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

export_app = typer.Typer(no_args_is_help=True, help="Copy a study's ledger for other programs.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A study's output folder.")]

console = Console()


@export_app.command()
def parquet(
    folder: Folder,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A new or empty folder: a path, or s3://, gs:// ...")
    ],
) -> None:
    """Write the three tables, one Parquet file each, to a path or a URL."""
    from wst.export.parquet import export_parquet

    export_parquet(folder, url)
    console.print(f"tables: {url}", highlight=False, soft_wrap=True)


@export_app.command()
def optuna(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", help="A new SQLite file.")] = Path("study.db"),
) -> None:
    """Write the searches as Optuna studies, one a cell, for optuna-dashboard."""
    from wst.export.optuna import export_optuna

    for name, trials in export_optuna(folder, out).items():
        console.print(f"{name}: {trials} trials", highlight=False, soft_wrap=True)
    console.print(f"storage: sqlite:///{out}", highlight=False, soft_wrap=True)
