"""How long it takes until something is seen: help, a study's first line, its first trial, a table.

    python -m benchmarks.start [--repeats 9] [--studies 3]

Every figure is the median of repeats that take turns with a bare start of Python, and is told as a multiple
of that as well: on a busy machine both take longer.  A study is one trial of one epoch on one task; until its
first trial counts from the command to the time that the trial's row gives as its start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.pages import Page, table
from wst.ledger import read_table

ROOT = Path(__file__).parents[1]
STUDY = """\
name: start
suite: mini
tasks: [digits]
backbone: micro
variants:
  linear: {method: linear, fixed: {lr: 1e-2}}
recipe: {epochs: 1, warmup_epochs: 0}
final: {seeds: 1}
"""
BARE = "python -c pass"
TABLES = {name: f"wst {name} {ROOT / 'docs' / 'demo'}" for name in ("status", "leaderboard")}
Seconds = dict[str, list[float]]


def words(command: str) -> list[str]:
    """A command as this interpreter runs it."""
    name, *rest = command.split()
    return [sys.executable, *(["-m", "wst"] if name == "wst" else []), *rest]


def until_the_end(command: str) -> float:
    """Seconds."""
    begin = time.perf_counter()
    subprocess.run(words(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def of_a_study(command: str, out: Path) -> tuple[float, float]:
    """Seconds until its first line, and until its first trial."""
    begin, began = time.perf_counter(), datetime.now(UTC)
    with subprocess.Popen(words(f"{command} --out {out}"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        line = time.perf_counter() - begin
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{command}: expected exit status 0; found {process.returncode}")
    started = read_table(out, "trials", ["started"]).to_pylist()[0]["started"]
    return line, (started - began).total_seconds()


def measured(repeats: int, studies: int, folder: Path) -> Seconds:
    """Seconds by what was waited for."""
    (folder / "study.yaml").write_text(STUDY)
    study, found = f"wst tune {folder / 'study.yaml'}", defaultdict[str, list[float]](list)
    short: dict[str, Callable[[], float]] = {
        BARE: lambda: until_the_end(BARE),
        "`wst --help`": lambda: until_the_end("wst --help"),
        "a misspelt method": lambda: until_the_end(f"{study} --set variants.linear.method=liner"),
        "a misspelt backbone": lambda: until_the_end(f"{study} --set backbone=vit_base_patch16_244"),
        "`wst status`": lambda: until_the_end(TABLES["status"]),
        "`wst leaderboard`": lambda: until_the_end(TABLES["leaderboard"]),
    }
    for _ in range(repeats):
        for what, take in short.items():
            found[what].append(take())
    _, first = of_a_study(f"{study} --inline", folder / "first")
    for number in range(studies):
        for how, option in (("`--inline`", " --inline"), ("Ray", "")):
            line, trial = of_a_study(study + option, folder / f"{number}{option.strip()}")
            found["first line of `wst tune`"].append(line)
            found[f"first trial, {how}"].append(trial)
    found["first trial, `--inline`, on data that were never looked at"].append(first)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--studies", type=int, default=3)
    page = Page("Until something is seen", parser, {"repeats": 1, "studies": 0}, libraries=("torch", "ray"))
    with tempfile.TemporaryDirectory() as name:
        os.environ["WST_CACHE"] = str(Path(name) / "cache")
        found = measured(page.options.repeats, page.options.studies, Path(name))
    bare = median(found.pop(BARE))
    rows = [
        [what, len(times), f"{median(times):.2f}", f"{median(times) / bare:.1f}"]
        for what, times in found.items()
    ]
    page.finish(
        f"A bare start of Python (`{BARE}`) took {1000 * bare:.0f} ms here. Tables are those of docs/demo.",
        table(["until the end of, or until", "repeats", "seconds", "bare starts"], rows),
        "What is misspelt is found before PyTorch or Ray are imported; that import, and the start of Ray's "
        "processes, are most of the time to a first trial.",
    )


if __name__ == "__main__":
    main()
