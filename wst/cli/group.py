"""The command line as Typer takes it: every verb, or those of one module."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from wst.cli.verbs import ABOUT, VERBS


def version_line() -> str:
    """What ``wst --version`` prints."""
    from wst import __version__

    return f"wst {__version__}"


def _say_version(asked: bool) -> None:
    if asked:
        print(version_line())
        raise typer.Exit


def application(*modules: str) -> typer.Typer:
    """``wst`` with the verbs of these modules of :mod:`wst.cli`; with all where none is named."""
    app = typer.Typer(
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        help=ABOUT,
    )
    app.callback()(before_the_verb)
    for module in modules or dict.fromkeys(verb.module for verb in VERBS.values()):
        found = getattr(import_module(f"wst.cli.{module}"), f"{module}_app")
        group = next((name for name, verb in VERBS.items() if verb.module == module and verb.group), None)
        app.add_typer(found, name=group)
    return app


def before_the_verb(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="WST_DEBUG", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Note the options that stand before the verb, in the object that :func:`wst.cli.app.main` gave."""
    context.ensure_object(dict)["debug"] = debug
