"""A study killed again and again at random moments, and what is left of it in the end.

    python -m benchmarks.chaos [--kills 20] [--seed 0]

A study on the mini suite with real training runs once undisturbed, and then through a series of kills, after
each of which the same command goes on; if it ends before they are used up, it begins anew.  All run on one
slot, where the order of results is always the same, so all must end in the same table.  After every kill
nothing that was durable before may be missing, no trial may be there twice, and what is left of the last
start must not be in the way of the next.

The ledger is made to compact itself far more often than it would, and some kills come in the middle of that:
there the process kills itself at a random one of the file system's calls.

Kills after which a file is damaged are in ``benchmarks/damage.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import psutil
import yaml

from benchmarks.pages import Page, table
from benchmarks.tables import check_same
from wst.errors import InputError
from wst.ledger import history, read_table

STUDY = """
name: chaos
suite: mini
tasks: [digits]
backbone: micro
variants:
  linear: {method: linear, space: {lr: {type: float, low: 1e-4, high: 1e-1, log: true}}}
  wst-r2:
    method: wst
    space:
      lr: {type: float, low: 1e-4, high: 1e-1, log: true}
      scale: {type: float, low: 0.1, high: 10, log: true}
    fixed: {r: 2}
recipe: {epochs: 3, warmup_epochs: 1}
search:
  trials: 14
  sampler: {type: tpe, n_startup_trials: 4}
  pruner: {type: successive_halving, min_resource: 1, reduction_factor: 2}
confirm: {top: 2, seeds: 2}
final: {seeds: 2}
resources: {slots: 1}
faults: {retries: 20}
report_every: 1
checkpoint_every: 1
"""
QUICK = {
    "variants": {
        "linear": {"method": "linear", "space": {"lr": {"type": "float", "low": 0.001, "high": 0.1}}}
    },
    "recipe": {"epochs": 2, "warmup_epochs": 1},
    "search": {"trials": 3},
    "confirm": None,
    "final": {"seeds": 1},
}
"""What the study says in the reduced form."""
COMPACT_ABOVE = 12
"""Files of the ledger above which it compacts itself here; 500 in use."""
KINDS = {
    "driver and all its Ray, SIGKILL": 4,
    "driver alone, SIGKILL": 4,
    "worker, SIGKILL": 4,
    "raylet, SIGKILL": 1,
    "GCS, SIGKILL": 1,
    "SIGTERM": 1,
    "SIGINT": 2,
    "within a compaction, SIGKILL": 3,
}
"""How many of 20 kills are of each kind."""
STARTED_BY_RAY = ("worker", "raylet", "GCS")
FILE_CALLS = {"open", "os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir"}


def tune(study: str, out: str, fatal_call: int, options: list[str]) -> None:
    """``wst tune`` in its own process, which kills itself at that file-system call of a compaction."""
    from wst.cli import app as cli
    from wst.ledger import writing as ledger

    ledger.COMPACT_ABOVE = COMPACT_ABOVE
    if fatal_call:
        compacting, calls = False, 0
        rewrite = ledger.Ledger._rewrite

        def rewrite_watched(*arguments: Any) -> None:
            nonlocal compacting, calls
            compacting, calls = True, 0
            rewrite(*arguments)
            compacting = False

        def watch(event: str, _: object) -> None:
            nonlocal calls
            if compacting and event in FILE_CALLS:
                calls += 1
                if calls == fatal_call:
                    os.kill(os.getpid(), signal.SIGKILL)

        ledger.Ledger._rewrite = rewrite_watched  # type: ignore[method-assign]
        sys.addaudithook(watch)
    sys.argv = ["wst", "tune", study, "--out", out, *options]
    cli.main()


@dataclass
class Kill:
    """One disturbance and what was seen of it."""

    kind: str
    seconds: float = 0.0
    """Since the launch of the process that was hit."""
    ended: int = 0
    """Trials in the ledger after it."""
    status: int | None = None
    """Exit status of the driver; None where it went on."""
    gone: float | None = None
    """Seconds until the last of the study's processes had gone; None where it went on."""


@dataclass
class Run:
    """A study in a process of its own, with all that this starts."""

    study: Path
    out: Path
    fatal_call: int = 0
    family: dict[int, psutil.Process] = field(default_factory=dict)
    options: ClassVar[list[str]] = []
    """Of ``wst tune``, for all runs."""

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.chaos", "--child", str(self.study), str(self.out)]
        with self.out.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.fatal_call), *self.options], stdout=log, stderr=log
            )
        self.begun = time.monotonic()
        self.driver = psutil.Process(self.process.pid)
        self.look()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def look(self) -> None:
        """Note every process that the driver has started so far."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (self.driver, *self.driver.children(recursive=True)):
                self.family.setdefault(process.pid, process)

    def alive(self) -> list[psutil.Process]:
        def lives(process: psutil.Process) -> bool:
            with contextlib.suppress(psutil.NoSuchProcess):
                return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            return False

        return [process for process in self.family.values() if lives(process)]

    def wait(self, seconds: float) -> bool:
        """Let it run; True when it ends by itself within these seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            if self.process.poll() is not None:
                return True
            time.sleep(min(0.2, seconds))
        return self.process.poll() is not None

    def named(self, name: str) -> list[psutil.Process]:
        """Processes with that in the name of their command; a worker has the name of what it runs."""
        found = []
        for process in self.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                if name in (process.cmdline() or [""])[0]:
                    found.append(process)
        return found

    def trains(self) -> bool:
        """Whether a trial of this process has trained for an epoch."""
        for checkpoint in (self.out / "checkpoints").glob("*.pt"):
            with contextlib.suppress(FileNotFoundError):
                if checkpoint.stat().st_mtime > self.driver.create_time():
                    return True
        return False

    def until_gone(self, seconds: float = 120) -> float:
        """Seconds until none of the processes is left."""
        begin = time.monotonic()
        while self.alive() and time.monotonic() - begin < seconds:
            self.process.poll()
            time.sleep(0.05)
        left = [process.name() for process in self.alive()]
        if left:
            raise SystemExit(
                f"{self.out}: expected all processes to end within {seconds:.0f} s; found {left}"
            )
        return time.monotonic() - begin


@dataclass(frozen=True)
class Pace:
    """Seconds in the undisturbed run: all, until the first checkpoint, and a trial on average after that."""

    whole: float
    first: float
    trial: float


def moment(run: Run, kind: str, generator: random.Random, pace: Pace) -> bool:
    """Wait for a random moment, while the study starts or within the next few trials; True if it ended."""
    if kind.startswith(STARTED_BY_RAY) or generator.random() < 0.6:
        while not run.trains():
            if run.wait(0.1):
                return True
        return run.wait(generator.uniform(0, 3 * pace.trial))
    return run.wait(generator.uniform(0, pace.first))


def disturb(run: Run, kind: str, generator: random.Random, pace: Pace) -> Kill | None:
    """Kill at a random moment, and see all processes end if the driver does; None if the study was done."""
    name = {"worker": "Trainable", "raylet": "raylet", "GCS": "gcs_server"}.get(kind.split(",")[0])
    ended, victims = moment(run, kind, generator, pace), [run.driver]
    if "all" in kind:
        victims = run.alive()
    elif name is not None:
        while not ended and not (victims := run.named(name)):
            ended = run.wait(0.05)
    if ended and run.process.returncode == 0:
        return None
    kill = Kill(kind, run.seconds)
    if kind.startswith("SIG"):
        run.process.send_signal(signal.Signals[kind])
    elif kind.startswith("within"):
        if not ended:  # it was not reached on opening: now on closing
            run.process.send_signal(signal.SIGTERM)
    else:
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        if kind.startswith("worker"):
            return kill
    if not run.wait(300):
        raise SystemExit(f"{run.out}: expected the driver to end after {kind}; found it running")
    kill.gone = run.until_gone()
    kill.status = run.process.returncode
    return kill


Durable = dict[str, set[str]]
"""Ids of what a ledger holds, by table."""
IDS = {"intents": "trial_id", "trials": "trial_id", "reads": "read_id"}


def check(out: Path, before: Durable) -> Durable:
    """Read the ledger as a next start would; nothing of ``before`` may have gone."""
    try:
        history(out)
        found = {name: read_table(out, name, [key])[key].to_pylist() for name, key in IDS.items()}
    except InputError:
        if before["intents"]:
            raise
        return before  # no ledger yet
    for name, ids in found.items():
        if len(set(ids)) < len(ids) or before[name] - set(ids):
            raise SystemExit(f"{out}: {name}: expected each once and none lost; found {ids}")
    if not set(found["trials"]) <= set(found["intents"]):
        raise SystemExit(f"{out}: expected an intent for every trial; found {found}")
    return {name: set(ids) for name, ids in found.items()}


def undisturbed(study: Path, out: Path) -> Pace:
    run, first = Run(study, out), 0.0
    while not run.wait(0.1):
        if not first and run.trains():
            first = run.seconds
    if run.process.returncode != 0:
        raise SystemExit(f"{out}: expected exit status 0; found {run.process.returncode}: see its log")
    return Pace(run.seconds, first, (run.seconds - first) / len(history(out)[1]))


def disturbed(study: Path, out: Path, kinds: list[str], generator: random.Random, pace: Pace) -> list[Kill]:
    """Run the study to its end, taking from ``kinds`` a kill after the other as long as it lasts."""
    kills: list[Kill] = []
    durable: Durable = {name: set() for name in IDS}
    run: Run | None = None
    while kinds:
        if run is not None and kinds[0].startswith("within"):  # goes on after the loss of a worker
            run.process.send_signal(signal.SIGTERM)
            run.wait(300)
            run.until_gone()
            run = None
        run = run or Run(study, out, generator.randint(1, 30) if kinds[0].startswith("within") else 0)
        kill = disturb(run, kinds[0], generator, pace)
        if kill is None:
            break
        del kinds[0]
        durable = check(out, durable)
        kill.ended = len(durable["trials"])
        kills.append(kill)
        print(kill, flush=True)
        if kill.status is not None:
            run = None
    run = run or Run(study, out)
    if not run.wait(3600) or run.process.returncode != 0:
        raise SystemExit(f"{out}: expected exit status 0 in the end; found {run.process.returncode}")
    check(out, durable)
    return kills


def figures(runs: dict[Path, list[Kill]], pace: Pace, total: float, reads: int) -> list[list[str] | str]:
    """Paragraphs and the table of the page."""
    kills = [kill for found in runs.values() for kill in found]
    trials = pd.concat([pd.read_parquet(out / "ledger" / "trials") for out in runs])
    again = int((trials["attempts"] > 1).sum())
    left = sum(len(list((out / "checkpoints").glob("*"))) for out in runs)
    many = "one run" if len(runs) == 1 else f"{len(runs)} runs"
    rows = []
    for kill in kills:
        status = "went on" if kill.status is None else kill.status
        gone = "went on" if kill.gone is None else f"{kill.gone:.1f}"
        rows.append([kill.kind, f"{kill.seconds:.1f}", kill.ended, status, gone])
    columns = ["kill", "s after launch", "trials ended by then", "exit status"]
    return [
        f"{len(trials) // len(runs)} trials of the mini suite with real training, one slot. The ledger "
        f"compacted itself above {COMPACT_ABOVE} files.",
        f"**{len(kills)} kills over {many} of the study, each of which ended in the table of the "
        "undisturbed one**, in every column of trials, epochs and intents but times, places, memory and the "
        "count of attempts. After each kill every trial, intent and read of a test split that had been "
        "durable was there, each once.",
        f"Undisturbed: {pace.whole:.0f} s. Disturbed: {total:.0f} s with all starts, "
        f"{total / pace.whole:.1f} times that, for {many}. Trials that "
        f"lost a worker and were continued by another: {again}. Files left in `checkpoints/`: {left}. Reads "
        "of the test split beyond the undisturbed study's, by finals that were killed while scoring: "
        f"{reads}.",
        table([*columns, "s until all its processes had gone"], rows),
        '"Within a compaction" kills at a random one of the file system\'s calls; where a start is over '
        "before any compaction, the study ends by SIGTERM (-15 before Ray is there, 130 later). A SIGINT "
        "with status 0 came while the study was ending. After a kill of the driver alone idle agents of Ray "
        "may live on for a minute. One slot, so that results come in the same order.",
    ]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        study, out, call, *given = sys.argv[2:]
        tune(study, out, int(call), given)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    page = Page("A study killed at random moments", parser, {"kills": 1}, libraries=("ray", "torch"))
    options = page.options
    generator = random.Random(options.seed)
    kinds = [kind for kind, share in KINDS.items() for _ in range(max(1, round(share * options.kills / 20)))]
    generator.shuffle(kinds)
    kinds = list(KINDS)[:1] if options.quick else kinds[: options.kills]
    Run.options = ["--inline"] if options.quick else []  # Ray takes most of the time of so small a study
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        os.environ["RAY_TMPDIR"] = name  # with what killed processes leave there
        os.environ["WST_CACHE"] = f"{name}/cache"  # with the log of reads, which is not the user's
        asked = yaml.safe_load(STUDY) | (QUICK if options.quick else {})
        (folder / "study.yaml").write_text(yaml.safe_dump(asked))
        pace = undisturbed(folder / "study.yaml", folder / "whole")
        print(pace, flush=True)
        begin, runs, reads = time.monotonic(), dict[Path, list[Kill]](), 0
        while kinds:
            out = folder / f"cut-{len(runs) + 1}"
            runs[out] = disturbed(folder / "study.yaml", out, kinds, generator, pace)
            reads += check_same(out, folder / "whole")
        page.finish(*figures(runs, pace, time.monotonic() - begin, reads))


if __name__ == "__main__":
    main()
