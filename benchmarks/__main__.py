"""Runs the benchmarks again, by the commands that their pages name, and writes the pages anew.

    python -m benchmarks [NAME ...] [--quick] [--out benchmarks/results]

``--quick`` runs each in its reduced form, which takes seconds, and leaves the pages alone.  Those of devices
that this machine lacks stay as they are.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.pages import NOT_HERE, RESULTS, command

ROOT = Path(__file__).parent.parent


def main() -> None:
    pages = {page.stem: page for page in sorted(RESULTS.glob("*.md"))}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(pages)}; all if none")
    parser.add_argument("--quick", action="store_true", help="reduced forms, which write no page")
    parser.add_argument("--out", type=Path, help="folder of the pages")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(pages))
    if unknown:
        parser.error(f"NAME: expected one of {', '.join(pages)}; found {unknown[0]}")
    out = options.out or (None if options.quick else RESULTS)
    if out:
        out.mkdir(parents=True, exist_ok=True)
    failed = []
    # Written in the end, since every page says whether the clone had changes.
    with TemporaryDirectory(prefix="wst-benchmarks-") as aside, ExitStack() as in_the_end:
        for name in options.names or pages:
            new = Path(aside) / f"{name}.md"
            words = [*command(pages[name]), *["--quick"] * options.quick, "--out", str(new)]
            status = subprocess.run(words, cwd=ROOT).returncode
            if status not in (0, NOT_HERE):
                failed.append(name)
            elif out and not status:
                in_the_end.callback(shutil.copy, new, out / new.name)
    if failed:
        sys.exit(f"benchmarks: expected exit status 0 of all; {', '.join(failed)} failed")


if __name__ == "__main__":
    main()
