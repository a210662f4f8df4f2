"""``wst export``: a study's ledger, or an adapter, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wst.cli.output import Folder, as_file, as_path, as_text, print_line
from wst.cli.outputs import Force, check_no_study, check_output

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
    from wst.models.adapters import load_adapter
    from wst.models.peft_format import export_peft_adapter

    check_no_study("FOLDER", folder)
    predictor = load_adapter(adapter, checkpoint=checkpoint)
    export_peft_adapter(predictor.model, folder)
    print_line(f"adapter: {folder}")
    readout = predictor.card.hyperparameters.get("readout", "paper")
    if readout != "paper":
        print_line(f"readout: {readout} (timm's model must pool alike)")
