"""What the benchmarks' pages share: the command that makes one, the conditions it ran under, its tables."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from wst.ledger.provenance import code
from wst.machine import usable_cpus

RESULTS = Path(__file__).parent / "results"
NOT_HERE = 3
"""Exit status of a benchmark of a device that this machine lacks."""


class Page:
    """A page in the making; made before the measurements, since it notes what else the machine does.

    Args:
        title: heading of the page.
        parser: the benchmark's own options.
        quick: what they are in the reduced form, which takes seconds and proves no more than that the
            benchmark runs.
        libraries: distributions whose versions matter to the figures.
    """

    def __init__(
        self,
        title: str,
        parser: argparse.ArgumentParser,
        quick: Mapping[str, object],
        libraries: Sequence[str] = (),
    ):
        parser.add_argument("--quick", action="store_true", help="a reduced form, whatever else is asked for")
        parser.add_argument("--out", type=Path, help="write the page here, besides printing it")
        self.options = parser.parse_args()
        if self.options.quick:
            vars(self.options).update(quick)
        self._title, self._libraries = title, libraries
        self._load, self._beside = os.getloadavg()[0], _beside()

    def finish(self, *parts: Iterable[str] | str) -> None:
        """Print the page, and write it where it was asked for.

        Args:
            parts: paragraphs, and tables as :func:`table` gives them.
        """
        opening = [f"# {self._title}", f"`{_command()}`", self._conditions()]
        blocks = [part if isinstance(part, str) else "\n".join(part) for part in (*opening, *parts)]
        text = "\n\n".join(blocks) + "\n"
        print(text)
        if self.options.out:
            self.options.out.parent.mkdir(parents=True, exist_ok=True)
            self.options.out.write_text(text)

    def _conditions(self) -> str:
        versions = [f"Python {platform.python_version()}"]
        versions += [f"{library} {version(library)}" for library in self._libraries]
        commit = code()["commit"]
        lines = [
            f"{usable_cpus()} cores ({_processor()}); {', '.join(versions)}; "
            + (f"commit {commit[:12]}{'+' * commit.endswith('+')}." if commit else "no commit known."),
            f"Load of the machine {self._load:.1f} before the run and {os.getloadavg()[0]:.1f} at its end, "
            f"its own included. {self._beside}",
        ]
        if self.options.quick:
            lines.append("**Reduced form: these figures mean nothing.**")
        return "\n".join(lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], text: int = 1) -> list[str]:
    """A Markdown table, whose first ``text`` columns are words and the others numbers."""
    rules = ["---"] * text + ["---:"] * (len(columns) - text)
    return [f"| {' | '.join(map(str, row))} |" for row in (columns, rules, *rows)]


def command(page: Path) -> list[str]:
    """The command that a page names first, with this interpreter for ``python``."""
    found = re.search(r"`python ([^`]+)`", page.read_text())
    if found is None:
        raise SystemExit(f"{page}: expected a command `python ...`; found none")
    return [sys.executable, *shlex.split(found[1])]


def _command() -> str:
    """How this process was asked for, but where to."""
    words, left_out = [], False
    for word in sys.argv[1:]:
        if not left_out and word != "--out" and not word.startswith("--out="):
            words.append(word)
        left_out = word == "--out"
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *words])


def _beside() -> str:
    """What else runs, seen over one second."""
    own = psutil.Process()
    mine = {own.pid, *(process.pid for process in own.parents())}
    others = [process for process in psutil.process_iter() if process.pid not in mine]
    for process in others:
        _share(process)
    busy = psutil.cpu_percent(interval=1) / 100 * (os.cpu_count() or 1)
    shares = sorted(((_share(process), process) for process in others), key=lambda pair: -pair[0])
    names = sorted({_name(process) for share, process in shares[:5] if share > 10})
    seen = ", ".join(names) or "none of them seen"
    return f"In the second before the run, others kept {busy:.1f} cores busy ({seen})."


def _share(process: psutil.Process) -> float:
    """Percent of a core since the last call."""
    try:
        return float(process.cpu_percent())
    except psutil.Error:
        return 0.0


def _name(process: psutil.Process) -> str:
    """The program, and what a Python runs."""
    try:
        words = process.cmdline()
        name = process.name()
    except psutil.Error:
        return "one that has ended"
    return f"{name} -m {words[words.index('-m') + 1]}" if "-m" in words[:-1] else name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.machine())
