"""``wst export``: a study's ledger, or an adapter, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wst.cli.output import Folder, Force, as_file, as_path, as_text, print_line
from wst.workflows.outputs import check_no_study, check_output

export_app = typer.Typer(
    no_args_is_help=True, help="Copy a study's ledger, or an adapter, for other programs."
)


@export_app.command()
def parquet(
    folder: Folder,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A new or empty folder: a path, or s3://, gs:// ...")
    ],
) -> None:
    """Write the three tables, one Parquet file each, to a path or a URL."""
    from wst.export.parquet import export_parquet

    if "://" not in url:
        check_no_study("URL", Path(url))
    export_parquet(folder, url)
    print_line(f"tables: {url}")


@export_app.command()
def optuna(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", parser=as_file, help="A new SQLite file.")] = Path("study.db"),
    force: Force = False,
) -> None:
    """Write the searches as Optuna studies, one a cell, for optuna-dashboard."""
    from wst.export.optuna import export_optuna

    check_output("-o", out, force=force)
    for name, trials in export_optuna(folder, out, replace=force).items():
        print_line(f"{name}: {trials} trials")
    print_line(f"storage: sqlite:///{out}")


@export_app.command()
def peft(
    adapter: Annotated[
        Path, typer.Argument(parser=as_file, help="An adapter's .safetensors file, of the method peft.")
    ],
    folder: Annotated[Path, typer.Argument(parser=as_path, help="A new or empty folder.")],
    checkpoint: Annotated[
        str | None, typer.Option(parser=as_text, help="The backbone's weights file.")
    ] = None,
) -> None:
    """Write an adapter as peft saves it, for PeftModel.from_pretrained on timm's model."""
    from wst.workflows.peft_folder import export_peft_folder

    check_no_study("FOLDER", folder)
    for line in export_peft_folder(adapter, folder, checkpoint=checkpoint):
        print_line(line)
