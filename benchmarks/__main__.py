"""Runs the benchmarks again, by the commands that their pages name, and writes the pages anew.

    python -m benchmarks [NAME ...] [--quick] [--out benchmarks/results]

``--quick`` runs each in its reduced form, which takes seconds, and leaves the pages alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.pages import RESULTS, command

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
    failed = []
    for name in options.names or pages:
        words = command(pages[name]) + ["--quick"] * options.quick
        words += ["--out", str(out / f"{name}.md")] if out else []
        if subprocess.run(words, cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"benchmarks: expected exit status 0 of all; {', '.join(failed)} failed")


if __name__ == "__main__":
    main()
