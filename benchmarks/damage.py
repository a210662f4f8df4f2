"""A study killed at a random moment and one of its files damaged, and what the next start makes of it.

    python -m benchmarks.damage [--rounds 20] [--seed 0]

In each round the study, on a folder of pictures with real training, is killed by SIGKILL at a random moment,
and one random file that it left, in its folder or in the cache, is cut off, emptied, removed, changed in one
byte or exchanged with another.  Then the same command is given again.  It has to end in the table of the
undisturbed study, or with exit status 2 in one line that names the file.  Where this line advises ``wst
repair``, the study has to end in that table after it; where it does not, after the file is put back.  No
row that was there before may be another one afterwards unless it lay in the damaged file or the repair named
its trial.

The study has no pruner: a trial that runs again would be compared with all that have ended since.

Kills of other kinds, without damage, are in ``benchmarks/chaos.py``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.pages import Page, table
from benchmarks.tables import check_same
from wst.errors import InputError
from wst.ledger import read_table
from wst.ledger.files import COMPACTED
from wst.ledger.generations import newest

STUDY: dict[str, Any] = {
    "name": "damage",
    "backbone": "micro",
    "variants": {
        "linear": {
            "method": "linear",
            "space": {"lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
        },
        "wst-r2": {
            "method": "wst",
            "space": {"lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
            "fixed": {"r": 2},
        },
    },
    "recipe": {"epochs": 3, "warmup_epochs": 1},
    "search": {
        "trials": 6,
        "sampler": {"type": "tpe", "n_startup_trials": 3},
    },
    "confirm": {"top": 2, "seeds": 2},
    "final": {"seeds": 2, "save_adapters": True},
}
QUICK = {"variants": {"linear": STUDY["variants"]["linear"]}, "search": {"trials": 2}, "confirm": None}
"""What the study says in the reduced form."""
COMPACT_ABOVE = 12
"""Files of the ledger above which it compacts itself in rounds for a file of several trials; 500 in use."""
TRIES = 50
"""Starts, of which one has to leave a file of the kind."""
LIMIT_S = 600
"""A start that takes longer hangs."""
KINDS = {
    "row of a trial": ("out/ledger/trials/[!c]*.parquet", 2),
    "curve of a trial": ("out/ledger/epochs/[!c]*.parquet", 2),
    "intent": ("out/ledger/intents/[!c]*.parquet", 2),
    "read of a test split": ("out/ledger/reads/[!c]*.parquet", 1),
    "compacted file of a table": ("out/ledger/*/compacted-*.parquet", 2),
    "trial checkpoint": ("out/checkpoints/*.pt", 2),
    "adapter": ("out/adapters/*.*", 1),
    "study file": ("out/study.yaml", 2),
    "link to the ledger": ("out/ledger", 1),
    "decoded split": ("cache/splits/[!.]*/*", 1),
    "remembered hashes": ("cache/hashes/*", 1),
    "remembered folder": ("cache/folders/*", 1),
    "remembered check": ("cache/checks/*", 1),
    "remembered images": ("cache/images/*.sqlite", 1),
}
"""Which files are of each kind, below a round's folder, and how many of 20 rounds it has."""
SINGLE = ("trial checkpoint", "study file", "remembered folder", "remembered check", "remembered images")
"""Kinds with one file at a time."""
QUICK_KINDS = ("curve of a trial", "decoded split")
DAMAGES = ("cut off", "emptied", "removed", "one byte changed", "exchanged")
LINK_DAMAGES = ("removed", "leads nowhere", "a file in its place")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("wst.cli.study", "wst.workflows.tune", "wst.engine.inline", "wst.workflows.repair"),
        *("benchmarks.pages", "benchmarks.tables"),  # a child imports this module again
    ]
)


def run_wst(words: Sequence[str], folder: Path, compact_above: int) -> None:
    """``wst`` with these words, in a process of its own."""
    from wst.cli import app
    from wst.ledger import writing

    os.environ["WST_CACHE"] = str(folder / "cache")
    for name, stream in (("stdout", 1), ("stderr", 2)):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), stream)
    writing.COMPACT_ABOVE = compact_above
    sys.argv = ["wst", *words]
    app.main()


@dataclass
class Round:
    """One kill with one damage, and what was seen."""

    folder: Path
    study: Path
    kind: str
    damage: str
    file: str = ""
    """What was damaged, below the round's folder."""
    ended: int = 0
    """Trials that had ended before."""
    line: str = ""
    """What the next start said, where it did not go on."""
    after: str = ""
    """What helped then."""
    again: int = 0
    """Trials whose rows were there before and are others now: they ran again."""
    reads: int = 0
    """Reads of the test split more than the undisturbed study's."""

    @property
    def out(self) -> Path:
        """The study's folder."""
        return self.folder / "out"

    def start(self, *words: str) -> Any:
        """A process with these words of ``wst``; those of a start by default."""
        words = words or ("tune", str(self.study), "--out", str(self.out), "--inline")
        above = COMPACT_ABOVE if self.kind.startswith("compacted") else 500
        process = _FORKS.Process(target=run_wst, args=(words, self.folder, above))
        process.start()
        return process

    def run(self, *words: str) -> int:
        """The same, until it ends; its exit status.

        Raises:
            SystemExit: it hangs.
        """
        process = self.start(*words)
        process.join(LIMIT_S)
        if process.is_alive():
            process.kill()
            raise self.failure(f"to end within {LIMIT_S} s", "it running")
        return int(process.exitcode)

    def said(self) -> list[str]:
        """The lines that the last process left on its stderr."""
        text = (self.folder / "stderr").read_text(errors="replace")
        return [line for line in text.splitlines() if line.strip()]

    def failure(self, expected: str, found: str) -> SystemExit:
        """A round that did not end as it has to."""
        said = "\n".join(self.said())
        return SystemExit(
            f"{self.kind}, {self.damage} ({self.file}): expected {expected}; found {found}\n{said}"
        )

    def files(self) -> list[Path]:
        """The files there are of this kind."""
        return sorted(self.folder.glob(KINDS[self.kind][0]))

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of ``trials``, by id."""
        return {row["trial_id"]: row for row in read_table(self.out, "trials").to_pylist()}


def kill(made: Round, generator: random.Random, whole: float) -> None:
    """Start the study and kill it at random moments until it has left a file of the kind.

    Args:
        made: the round.
        generator: what decides.
        whole: seconds that the undisturbed study took.
    """
    wanted = 2 if made.damage == "exchanged" and made.kind not in SINGLE else 1
    for _ in range(TRIES):
        process = made.start()
        process.join(generator.uniform(0, whole))
        while "checkpoint" in made.kind and process.is_alive() and not made.files():
            time.sleep(0.001)
        process.kill()
        process.join()
        if process.exitcode not in (0, -signal.SIGKILL):
            raise made.failure("exit status 0, or a kill", str(process.exitcode))
        if len(made.files()) >= wanted and newest(made.out) is not None:
            return
        if process.exitcode == 0:
            for folder in (made.out, made.folder / "cache"):  # it ended without one
                shutil.rmtree(folder)
    raise made.failure("files of that kind", f"none after {TRIES} starts")


def do_damage(made: Round, generator: random.Random, other: bytes) -> list[Path]:
    """Damage a random file of the kind; returns what was damaged.

    Args:
        made: the round.
        generator: what decides.
        other: takes a file's place where there is no second of its kind to exchange it with.
    """
    files = made.files()
    path = generator.choice(files)
    alike = [file for file in files if file != path and file.suffix == path.suffix]
    hit = [path]
    if made.damage == "exchanged" and alike:
        hit.append(generator.choice(alike))
        contents = [file.read_bytes() for file in hit]
        for file, content in zip(reversed(hit), contents, strict=True):
            file.write_bytes(content)
    elif made.damage == "exchanged":
        path.write_bytes(other)
    elif made.damage == "cut off":
        os.truncate(path, generator.randrange(1, path.stat().st_size))
    elif made.damage == "emptied":
        os.truncate(path, 0)
    elif made.damage == "one byte changed":
        changed = bytearray(path.read_bytes())
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
    else:
        path.unlink()
    if made.damage == "leads nowhere":
        path.symlink_to("ledger-999")
    elif made.damage == "a file in its place":
        path.write_text("ledger-1")
    made.file = " and ".join(str(file.relative_to(made.folder)) for file in hit)
    return hit


def go(made: Round, generator: random.Random, whole: tuple[Path, float], other: bytes) -> None:
    """Kill, damage, and see what the next starts make of it.

    Raises:
        SystemExit: the round does not end as it has to.
    """
    kill(made, generator, whole[1])
    try:
        before = made.rows()
    except InputError:  # killed before the ledger was there
        before = {}
    made.ended = len(before)
    aside = made.folder / "as-it-was"
    shutil.copytree(made.out, aside, symlinks=True)
    hit = do_damage(made, generator, other)
    may_change = {file.stem for file in hit if file.parent.name == "trials"}
    if any(file.name.startswith(COMPACTED) for file in hit if file.parent.name == "trials"):
        may_change |= set(before)
    status = made.run()
    if status != 0:
        made.line = one_line(made, status, hit)
        if "wst repair" in made.line:
            if made.run("repair", str(made.out)) != 0:
                raise made.failure("exit status 0 of wst repair", "another")
            found = (made.folder / "stdout").read_text()
            may_change |= {trial_id for trial_id in before if trial_id in found}
            made.after = "wst repair"
        else:
            shutil.rmtree(made.out)
            aside.rename(made.out)
            made.after = "the file put back"
        if (status := made.run()) != 0:
            raise made.failure(f"exit status 0 after {made.after}", str(status))
    try:
        made.reads = check_same(made.out, whole[0])
    except AssertionError as error:
        raise made.failure("the undisturbed tables", str(error)) from None
    rows = made.rows()
    changed = {trial_id for trial_id, row in before.items() if rows[trial_id] != row}
    made.again = len(changed)
    if not changed <= may_change:
        raise made.failure("the rows that were there", f"others of {sorted(changed - may_change)}")


def one_line(made: Round, status: int, hit: Sequence[Path]) -> str:
    """What a start said that did not go on.

    Raises:
        SystemExit: it is not one line that names a file that was damaged, with exit status 2.
    """
    said = made.said()
    if status != 2 or len(said) != 1:
        raise made.failure("exit status 2 and one line", f"status {status} and {len(said)} lines")
    # Of a file that is gone its folder is what can be named.
    names = [str(file.parent if made.damage == "removed" else file) for file in hit]
    if not any(name in said[0] for name in names):
        raise made.failure("a line that names the file", "another")
    return said[0]


def draw_pictures(folder: Path) -> None:
    """A folder of two classes: 160 noisy pictures, brighter on the left or on the right."""
    generator = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / label).mkdir(parents=True)
        for number in range(80):
            pixels = generator.integers(0, 128, (32, 32, 3), np.uint8)
            half = slice(0, 16) if label == "left" else slice(16, 32)
            pixels[:, half] += np.uint8(generator.integers(10, 90))
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def undisturbed(made: Round) -> tuple[float, bytes]:
    """Run the study to its end; returns the seconds it took and a state that one of its trials left."""
    begin, state = time.monotonic(), b""
    process = made.start()
    while process.is_alive():
        for file in (made.out / "checkpoints").glob("*.pt") if not state else ():
            with suppress(FileNotFoundError):
                state = file.read_bytes()
        process.join(0.002)
    if process.exitcode != 0 or not state:
        raise made.failure("exit status 0 and a trial's state", str(process.exitcode))
    return time.monotonic() - begin, state


def rounds(options: argparse.Namespace, generator: random.Random) -> list[tuple[str, str]]:
    """Kinds of files and of damage, in random order."""
    if options.quick:
        return [(kind, "cut off") for kind in QUICK_KINDS]
    kinds: list[str] = []
    while len(kinds) < options.rounds:
        more = [kind for kind, (_, share) in KINDS.items() for _ in range(share)]
        generator.shuffle(more)
        kinds += more
    return [(kind, _damage(kind, generator)) for kind in kinds[: options.rounds]]


def _damage(kind: str, generator: random.Random) -> str:
    return generator.choice(LINK_DAMAGES if "link" in kind else DAMAGES)


def figures(done: Sequence[Round], whole: float, total: float) -> list[list[str] | str]:
    """Paragraphs and the table of the page."""
    silent = sum(not made.line for made in done)
    repaired = sum(made.after == "wst repair" for made in done)
    rest = len(done) - silent - repaired
    rows = []
    for made in done:
        said = "went on" if not made.line else f"one line; {made.after}"
        file = re.sub(r"(compacted-|splits/|/)([0-9a-f]{6})[0-9a-f]{6,}", r"\1\2...", made.file)
        rows.append([made.kind, made.damage, f"`{file}`", said, made.ended, made.again, made.reads])
    columns = [
        "kind",
        "damage",
        "file",
        "the next start",
        "trials ended before",
        "rows run again",
        "more reads",
    ]
    return [
        f"The study has {len(done[0].rows())} trials on a folder of 160 pictures, with real training of the "
        "micro backbone, in one process (`--inline`). Each start is a process of its own, forked from one "
        "that had only imported the libraries. Each round has a folder and a cache of its own.",
        f"**{len(done)} rounds, each of which ended in the table of the undisturbed study or in one line "
        f"that names the file.** {silent} went on by themselves; {repaired} said in one line what was "
        f"damaged, with exit status 2, and ended in that table after the `wst repair` that the line advises; "
        f"{rest} said in one line what was damaged, and ended in that table when the file was put back. "
        "Equal are all columns of trials, epochs and intents but times, places, memory and the count of "
        "attempts. A row that had been there is the same in every column, times too, unless it or its curve "
        "was damaged; there its trial ran again, to the same numbers.",
        f"Undisturbed: {whole:.0f} s. All rounds with all their starts: {total:.0f} s.",
        table(columns, rows, text=4),
        '"Exchanged" is two files of the kind, each with the content of the other; where there is no second, '
        'a state has that of another trial in its place, any other file a picture. "More reads" are rows of '
        "`reads` beyond the undisturbed study's: a final that was killed while it was scored, or whose row "
        "or curve was lost, reads the test split again, and that is written down. Where the file of one "
        "trial's row is removed, the folder looks as after a kill before that row's commit: nothing is said, "
        "and its trial runs again to the same row. The study has no pruner, which would compare a trial that "
        "runs again with all that have ended since, and might decide otherwise. An adapter is not read by a "
        "study that goes on; who uses a damaged one is told.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    page = Page("A study whose files are damaged", parser, {}, libraries=("torch", "pyarrow"))
    options = page.options
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="damage-") as name:
        folder = Path(name)
        draw_pictures(folder / "shapes")
        asked = STUDY | {"suite": str(folder / "shapes")} | (QUICK if options.quick else {})
        study = folder / "damage.yaml"
        study.write_text(yaml.safe_dump(asked))
        first = Round(folder / "whole", study, "", "")
        first.folder.mkdir()
        first.run("ls", "suites")  # the libraries are imported once
        seconds, state = undisturbed(first)
        picture = (folder / "shapes" / "left" / "0.png").read_bytes()
        begin, done = time.monotonic(), list[Round]()
        for number, (kind, damage) in enumerate(rounds(options, generator), start=1):
            made = Round(folder / f"round-{number}", study, kind, damage)
            made.folder.mkdir()
            go(made, generator, (first.out, seconds), state if "checkpoint" in kind else picture)
            print(number, kind, damage, made.file, made.line, made.after, flush=True)
            done.append(made)
        page.finish(*figures(done, seconds, time.monotonic() - begin))


if __name__ == "__main__":
    main()
