"""Choose a sampler and a pruner on recorded learning curves, and say what the choice is worth.

    python tools/choose_search.py docs/simulation build/choice -o docs/simulation/choice.md

Combinations of the samplers and pruners below are replayed under the seeds of the choice.  The best is the
one with the highest best validation accuracy, mean over tasks and repeats, after a third of the compute of
random search without pruning.  What the choice is worth is told from other seeds, and task by task with the
combination that is best on the *other* tasks.

Replays are kept in the second folder, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from analysis.simulation import Comparison, Interval, best_so_far, compare, search_in_words
from analysis.tables import Column, Table, markdown
from wst.ledger import resolved_study
from wst.simulation.recording import Recording
from wst.simulation.replay import CellReplay
from wst.simulation.replay import replay as replay_study
from wst.study import Study
from wst.study.search import TPE

TRIALS = 60
THIRD = TRIALS / 3
BASELINE = "random, none"
SLOTS = 20
"""Of the comparison with several trials of a cell at a time."""
HELD_OUT = 1_000
"""First seed of the replays that tell what the choice is worth."""
Replays = list[list[CellReplay]]
Options = dict[str, Any]


def samplers() -> dict[str, Options]:
    found: dict[str, Options] = {"random": {"type": "random"}}
    for start, multivariate in product((5, 10, 15, 20), (True, False)):
        name = f"tpe {start} {'multivariate' if multivariate else 'independent'}"
        found[name] = {"type": "tpe", "n_startup_trials": start, "multivariate": multivariate}
    return found


def pruners(epochs: int) -> dict[str, Options]:
    ninth, third = max(1, round(epochs / 9)), max(1, round(epochs / 3))
    found: dict[str, Options] = {"none": {"type": "none"}}
    for name, first, factor in (
        *(("halving 1/9", ninth, factor) for factor in (2, 3, 4)),
        *(("halving 1/3", third, factor) for factor in (2, 3)),
    ):
        options = {"min_resource": first, "reduction_factor": factor}
        found[f"{name} by {factor}"] = {"type": "successive_halving", **options}
    found["median"] = {"type": "median"}
    found["median from 1/3"] = {"type": "median", "n_startup_trials": 10, "n_warmup_epochs": third}
    return found


def candidates(record: Study) -> dict[str, Study]:
    """Every sampler without pruning, and three of them with every pruner."""
    tried, stopped = samplers(), pruners(record.recipe.epochs)
    pairs = [(one, "none") for one in tried]
    pairs += product(
        ("random", "tpe 5 multivariate", "tpe 10 multivariate"), [n for n in stopped if n != "none"]
    )
    return {f"{one}, {other}": _study(record, tried[one], stopped[other]) for one, other in pairs}


def _study(record: Study, sampler: Options, pruner: Options) -> Study:
    search = {"trials": TRIALS, "sampler": sampler, "pruner": pruner}
    # Reported at every ninth, so that the median pruner may decide there too.
    every = max(1, round(record.recipe.epochs / 9))
    return Study.model_validate({**record.model_dump(), "search": search, "report_every": every})


def _with_liar(study: Study, liar: bool) -> Study:
    assert study.search is not None and isinstance(study.search.sampler, TPE)
    sampler = study.search.sampler.model_copy(update={"constant_liar": liar})
    return study.model_copy(update={"search": study.search.model_copy(update={"sampler": sampler})})


class Bench:
    """Replays studies on a record and keeps what came out."""

    def __init__(self, recording: Recording, folder: Path, processes: int):
        self._recording, self._folder, self._processes = recording, folder, processes

    def replay(self, name: str, study: Study, first: int, repeats: int, slots: int = 1) -> Replays:
        words = f"{name} {first} {repeats} {slots}"
        path = self._folder / f"{words.replace(', ', '-').replace(' ', '-').replace('/', '_')}.json"
        if not path.is_file():
            seeded = study.model_copy(update={"seed": first})
            found = replay_study(
                seeded, self._recording, repeats=repeats, slots=slots, processes=self._processes
            )
            text = json.dumps([[asdict(cell) for cell in cells] for cells in found])
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(name, flush=True)
        return [[_cell(**cell) for cell in cells] for cells in json.loads(path.read_text())]


def _cell(compute: list[float], accuracy: list[float], **others: Any) -> CellReplay:
    return CellReplay(compute=tuple(compute), accuracy=tuple(accuracy), **others)


def score(replays: Replays, without: str | None = None) -> float:
    """Best validation accuracy after a third of the baseline's compute, mean over repeats and tasks."""
    grid = np.array([THIRD])
    cells = [cell for repeat in replays for cell in repeat if cell.task != without]
    return float(np.mean([best_so_far(cell, grid) for cell in cells]))


def table(found: Comparison, scores: Mapping[str, float]) -> str:
    """Markdown, the highest score first."""
    targets = [f"compute to {reach.accuracy:.2f} %" for reach in found.studies[0].reach]
    after = f"after {THIRD:.0f}"

    def words(value: Interval) -> str:
        high = "..." if math.isinf(value.high) else f"{value.high:.2f}"
        low = "..." if math.isinf(value.low) else f"{value.low:.2f}"
        return "-" if math.isinf(value.estimate) else f"{value.estimate:.2f} [{low}, {high}]"

    rows = [
        {
            "search": one.name,
            after: f"{scores[one.name]:.2f}",
            "at the end": words(one.accuracy),
            "full trials": f"{one.compute:.1f}",
            **{name: words(reach.ratio) for name, reach in zip(targets, one.reach, strict=True)},
        }
        for one in sorted(found.studies, key=lambda one: -scores[one.name])
    ]
    names = ("search", after, "at the end", "full trials", *targets)
    return markdown(Table("", [Column(name) for name in names], rows))


def compared(studies: Mapping[str, Study], replays: Mapping[str, Replays]) -> str:
    named = [study.model_copy(update={"name": name}) for name, study in studies.items()]
    scores = {name: score(found) for name, found in replays.items()}
    return table(compare(named, replays, BASELINE), scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("kept", type=Path, help="folder that keeps the replays")
    parser.add_argument("-o", dest="out", type=Path, required=True, help="Markdown file")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    record = resolved_study(args.record)
    bench = Bench(Recording([args.record]), args.kept, args.processes)
    studies = candidates(record)
    replays = {name: bench.replay(name, study, 0, args.repeats) for name, study in studies.items()}
    best = max(replays, key=lambda name: score(replays[name]))
    by_task = {
        task: max(replays, key=lambda name: score(replays[name], without=task)) for task in record.tasks
    }
    fresh = {
        name: bench.replay(name, studies[name], HELD_OUT, args.held_out)
        for name in dict.fromkeys([BASELINE, best, *by_task.values()])
    }
    left_out = [
        [cell for task, name in by_task.items() for cell in fresh[name][i] if cell.task == task]
        for i in range(args.held_out)
    ]
    others = "chosen on the other tasks"
    worth = {BASELINE: fresh[BASELINE], best: fresh[best], others: left_out}
    shown = {name: studies.get(name, studies[best]) for name in worth}
    crowded = {
        BASELINE: studies[BASELINE],
        **{f"{best}, constant_liar {liar}": _with_liar(studies[best], liar) for liar in (True, False)},
    }
    side_by_side = {
        name: bench.replay(name, study, 0, args.repeats, SLOTS) for name, study in crowded.items()
    }
    lines = [
        "# The choice of sampler and pruner",
        f"""
Made by `tools/choose_search.py` on the record in this folder: {TRIALS} trials a task,
{args.repeats} repeats (seeds 0 to {args.repeats - 1}), best validation accuracy in per cent, mean over tasks
and repeats. `after {THIRD:.0f}`: after the compute of {THIRD:.0f} full trials a task, by which the choice
is made. `full trials`: compute of the whole search. The last columns: compute to reach the accuracies that
random search without pruning has after 60, 30 and 15 trials, in units of what it needs itself, with 95 %
bootstrap intervals over repeats; `-` and `...`: not reached with {TRIALS} trials.
""",
        compared(studies, replays),
        f"""
The best is `{best}`: {search_in_words(studies[best])}.

## What it is worth

Fresh repeats, seeds {HELD_OUT} to {HELD_OUT + args.held_out - 1}. `{others}` takes for each task the best
combination by the table above without that task: {", ".join(f"{t} `{n}`" for t, n in by_task.items())}.
""",
        compared(shown, worth),
        f"""
## With {SLOTS} slots

Several trials of a task run at a time, as on a machine with {SLOTS} slots for {len(record.tasks)} tasks;
seeds 0 to {args.repeats - 1}.
""",
        compared(crowded, side_by_side),
    ]
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
