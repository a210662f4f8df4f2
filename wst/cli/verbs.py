"""The verbs of ``wst``: where each is, and what the help says of it, told without a library."""

from __future__ import annotations

import shutil
import textwrap
from typing import NamedTuple

ABOUT = "Wavelet-based multi-scale tuning: studies, leaderboards, comparisons."


class Verb(NamedTuple):
    """Where a verb is, and its line.

    Attributes:
        module: of :mod:`wst.cli`, whose ``<module>_app`` has the verb.
        about: the first paragraph of the verb's own help.
        group: whether it has verbs of its own.
    """

    module: str
    about: str
    group: bool = False


VERBS = {
    "tune": Verb("study", "Start a study, or go on with the one in the output folder."),
    "demo": Verb(
        "study",
        "Compare six methods in the embedded default study, two of them tuned, and show what came out.",
    ),
    "status": Verb(
        "study",
        "Show how far a study is: trials by cell, stage and state, the best so far, what is left.",
    ),
    "repair": Verb(
        "study",
        "Lay aside what is damaged in a study's folder, and say what that means; nothing is deleted.",
    ),
    "best": Verb(
        "study",
        "Show the settings that each cell's search has chosen, or write them as a study without a search.",
    ),
    "train": Verb("train", "Fine-tune once, without a study; the row goes into a ledger of its own."),
    "merge": Verb(
        "train", "Fold an adapter into its backbone's weights: a plain timm model with the same outputs."
    ),
    "predict": Verb("train", "Print the likeliest classes of images, with their probabilities."),
    "bench": Verb(
        "bench", "Measure a study here: images a second, memory, the best number of trials at a time, hours."
    ),
    "data": Verb("data", "Make, verify and describe suites of tasks.", group=True),
    "leaderboard": Verb(
        "analysis",
        "Show test accuracies of the final stage: per task, group means, both averages, parameters, seeds.",
    ),
    "pareto": Verb(
        "analysis",
        "Draw accuracy against parameters, training seconds or peak memory, with the front.",
    ),
    "ablation": Verb(
        "analysis",
        "Compare variants paired by task and seed, and say which differences are inside the noise.",
    ),
    "importance": Verb(
        "analysis",
        "Show which hyperparameters mattered in the search, and how sure its choices were.",
    ),
    "report": Verb("analysis", "Write one self-contained page about the studies."),
    "simulate": Verb(
        "simulate",
        "Compare samplers, pruners and budgets on recorded learning curves, without training.",
    ),
    "export": Verb("export", "Copy a study's ledger, or an adapter, for other programs.", group=True),
    "ls": Verb("listing", "List what there is."),
}
_OPTIONS = {
    "--debug": "Show the traceback of an error (or WST_DEBUG=1).",
    "--version": "Print the version.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Show completion for the current shell, to copy or change it.",
    "-h, --help": "Show this message; after a verb, that verb's.",
}


def overall_help() -> str:
    """What ``wst --help`` prints, as wide as the terminal and no wider than is read well."""
    width = min(shutil.get_terminal_size().columns, 100)
    lines = ["Usage: wst [OPTIONS] VERB [ARGS]...", "", *textwrap.wrap(ABOUT, width)]
    for title, entries in (
        ("Verbs", {name: one.about for name, one in VERBS.items()}),
        ("Options", _OPTIONS),
    ):
        label = max(map(len, entries)) + 2
        lines += ["", f"{title}:"]
        for name, about in entries.items():
            lines += textwrap.wrap(
                f"{name:<{label}}{about}",
                max(width, label + 20),
                initial_indent="  ",
                subsequent_indent=" " * (label + 2),
            )
    return "\n".join(lines)
