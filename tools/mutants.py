"""Changes the code that the promises rest on in small ways, one at a time, and says which no test noticed.

    python -m tools.mutants [MODULE ...] [--sample 150] [--seed 0]

prints a table and the survivors; ``mutmut show NAME`` shows one.  Which modules and tests: ``[tool.mutmut]``
in pyproject.toml.  Of a module with more mutants than ``--sample``, that many are drawn by ``--seed``.
tests/mutants.md is the record of one run, with what was found about the survivors.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
MUTANTS = ROOT / "mutants"
PARTS = {"analysis.ablation": ("x_ablation__",), "analysis.comparison": ("x__by_seed__", "x__compare__")}
"""Of a module only these functions: the rest is words."""
_SURVIVED, _NO_TESTS = 0, (5, 33)
"""Exit statuses that mutmut keeps.  Every other is a kill: a test failed, or the mutant did not end."""


def main() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    modules = [path.removesuffix(".py").replace("/", ".") for path in settings["only_mutate"]]
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(modules)}; all if none")
    parser.add_argument("--sample", type=int, default=150, help="most mutants a module")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args()
    unknown = sorted(set(options.modules) - set(modules))
    if unknown:
        parser.error(f"MODULE: expected one of {', '.join(modules)}; found {unknown[0]}")
    wanted = options.modules or modules
    if not all(_file(module).exists() for module in wanted):
        _run(["wst.planning.ranking.x__rounded__mutmut_1"])  # makes them all
    samples = {}
    for module in wanted:
        parts = tuple(f"{module}.{part}" for part in PARTS.get(module, ("",)))
        names = sorted(name for name in _statuses(module) if name.startswith(parts))
        drawn = random.Random(options.seed).sample(names, min(options.sample, len(names)))
        samples[module] = (len(names), sorted(drawn))
    _run(name for _, drawn in samples.values() for name in drawn)
    print("| module | mutants | tried | killed | survived | reached by no test | killed of those tried |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    survivors = []
    for module, (number, drawn) in samples.items():
        statuses = _statuses(module)
        found = Counter(_word(statuses[name]) for name in drawn)
        survivors += [name for name in drawn if _word(statuses[name]) != "killed"]
        share = found["killed"] / len(drawn)
        counts = (found[word] for word in ("killed", "survived", "no test"))
        print(f"| `{module}` | {number} | {len(drawn)} | {' | '.join(map(str, counts))} | {share:.1%} |")
    print("", *survivors, sep="\n")


def _run(names: Iterable[str]) -> None:
    """Try these mutants; mutmut's own words go to stderr."""
    subprocess.run([sys.executable, "-m", "mutmut", "run", *names], cwd=ROOT, check=True, stdout=sys.stderr)


def _file(module: str) -> Path:
    return MUTANTS / f"{module.replace('.', '/')}.py.meta"


def _statuses(module: str) -> dict[str, int | None]:
    statuses: dict[str, int | None] = json.loads(_file(module).read_text())["exit_code_by_key"]
    return statuses


def _word(status: int | None) -> str:
    return "survived" if status == _SURVIVED else "no test" if status in _NO_TESTS else "killed"


if __name__ == "__main__":
    main()
