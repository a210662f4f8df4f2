"""The command line, put together: ``wst``, its verbs and its exit statuses."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from wst.cli.analysis import analysis_app
from wst.cli.data import data_app
from wst.cli.export import export_app
from wst.cli.output import Json, print_json
from wst.cli.simulate import simulate_app
from wst.cli.study import study_app
from wst.cli.train import train_app
from wst.errors import InputError
from wst.methods import registry
from wst.shipped import shipped_names

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Wavelet-based multi-scale tuning: studies, leaderboards, comparisons.",
)
app.add_typer(study_app)
app.add_typer(train_app)
app.add_typer(data_app, name="data")
app.add_typer(analysis_app)
app.add_typer(simulate_app)
app.add_typer(export_app, name="export")


@app.command("ls")
def list_known(
    what: Annotated[
        str,
        typer.Argument(help="tasks, suites, backbones, methods, spaces, settings or studies"),
    ],
    as_json: Json = False,
) -> None:
    """List what there is."""
    from wst.data.suites import suites  # loads NumPy and Pydantic

    known: dict[str, Any] = {
        "tasks": lambda: [f"{s.name}/{t.name}" for s in suites().values() for t in s.tasks],
        "suites": lambda: list(suites()),
        "backbones": _backbones,
        "methods": registry.names,
        "spaces": lambda: shipped_names("search_spaces"),
        "settings": lambda: shipped_names("settings"),
        "studies": lambda: shipped_names("studies"),
    }
    if what not in known:
        raise InputError(f"ls: expected one of {', '.join(known)}; found {what!r}")
    found = known[what]()
    if as_json and what == "methods":
        found = [registry.described(name) for name in found]
    if as_json:
        print_json(found)
    else:
        print("\n".join(found))


def _backbones() -> list[str]:
    from wst.models.backbones import names  # loads torch

    note = (
        "all but micro are timm's; weights: --set checkpoint=FILE, or --set pretrained=true to download them"
    )
    print(note, file=sys.stderr)
    return names()


def main() -> NoReturn:
    """Entry point: bad input gets one line on stderr and exit status 2."""
    try:
        app()
    except InputError as error:
        print(f"wst: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        # A path that the user gave, in all likelihood: a file where a folder has to be, or no permission.
        print(f"wst: {error.filename}: expected a path to use; found: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
