"""Choose a sampler and a pruner on recorded learning curves, and say what the choice is worth.

    python tools/choose_search.py docs/simulation build/choice -o docs/simulation/choice.md

Combinations of the samplers and pruners below are replayed under the seeds of the choice.  The score of a
combination is the geometric mean of the compute that it needs, in units of what random search without
pruning needs, for the accuracies which that has after 60, 30 and 15 full trials.  What the choice is worth
is told from other seeds, and task by task with the combination that is best on the *other* tasks.

Replays are kept in the second folder, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from analysis.simulation import Comparison, Simulated, compare, search_in_words
from analysis.tables import Column, Table, markdown
from wst.ledger import resolved_study
from wst.recording import Recording
from wst.simulate import CellReplay
from wst.simulate import replay as replay_study
from wst.study import Study

TRIALS = 60
HELD_OUT = 1_000
"""First seed of the replays that tell what the choice is worth."""
Replays = list[list[CellReplay]]


def samplers() -> dict[str, dict[str, Any]]:
    tpe = {
        f"tpe-{start}-{'joint' if multivariate else 'single'}": {
            "type": "tpe",
            "n_startup_trials": start,
            "multivariate": multivariate,
        }
        for start, multivariate in product((5, 10, 15, 20), (True, False))
    }
    return {"random": {"type": "random"}, **tpe}


def pruners(epochs: int) -> dict[str, dict[str, Any]]:
    ninth, third = max(1, round(epochs / 9)), max(1, round(epochs / 3))

    def halving(first: int, factor: int) -> dict[str, Any]:
        return {"type": "successive_halving", "min_resource": first, "reduction_factor": factor}

    return {
        "none": {"type": "none"},
        **{f"halving-ninth-{factor}": halving(ninth, factor) for factor in (2, 3, 4)},
        "halving-third-3": halving(third, 3),
        "median": {"type": "median"},
    }


def candidates(record: Study) -> dict[str, Study]:
    """All samplers without pruning and with one pruner, and a few samplers with all pruners."""
    every_sampler, every_pruner = samplers(), pruners(record.recipe.epochs)
    few_samplers, few_pruners = ("random", "tpe-10-joint", "tpe-10-single"), ("none", "halving-ninth-3")
    return {
        f"{one}_{other}": with_search(record, f"{one}_{other}", every_sampler[one], every_pruner[other])
        for one, other in product(every_sampler, every_pruner)
        if one in few_samplers or other in few_pruners
    }


def with_search(record: Study, name: str, sampler: dict[str, Any], pruner: dict[str, Any]) -> Study:
    search = {"trials": TRIALS, "sampler": sampler, "pruner": pruner}
    # Reported at every ninth, so that the median pruner may decide there too.
    every = max(1, round(record.recipe.epochs / 9))
    return Study.model_validate(
        {**record.model_dump(), "name": name, "search": search, "report_every": every}
    )


def kept(
    folder: Path, study: Study, recording: Recording, first: int, repeats: int, processes: int
) -> Replays:
    path = folder / f"{study.name}-{first}-{repeats}.json"
    if not path.is_file():
        seeded = study.model_copy(update={"seed": first})
        found = list(replay_study(seeded, recording, repeats=repeats, processes=processes))
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([[asdict(cell) for cell in cells] for cells in found]))
        print(study.name, flush=True)
    return [[_cell(**cell) for cell in cells] for cells in json.loads(path.read_text())]


def _cell(compute: list[float], accuracy: list[float], **others: Any) -> CellReplay:
    return CellReplay(compute=tuple(compute), accuracy=tuple(accuracy), **others)


def of_tasks(replays: Replays, tasks: set[str]) -> Replays:
    return [[cell for cell in cells if cell.task in tasks] for cells in replays]


def score(one: Simulated) -> float:
    return math.exp(sum(math.log(reach.ratio.estimate) for reach in one.reach) / len(one.reach))


def ranked(found: Comparison) -> list[Simulated]:
    return sorted(found.studies, key=score)


def best_without(
    studies: dict[str, Study], replays: dict[str, Replays], baseline: str
) -> Iterator[tuple[str, str]]:
    """Each task with the combination that is best on the others."""
    tasks = {cell.task for cell in replays[baseline][0]}
    for task in sorted(tasks):
        others = {name: of_tasks(found, tasks - {task}) for name, found in replays.items()}
        yield task, ranked(compare(list(studies.values()), others, baseline))[0].name


def table(title: str, found: list[Simulated]) -> Table:
    targets = [f"to {r.accuracy:.2f} %" for r in found[0].reach]

    def interval(value: Any) -> str:
        high = "..." if math.isinf(value.high) else f"{value.high:.2f}"
        return "-" if math.isinf(value.estimate) else f"{value.estimate:.2f} [{value.low:.2f}, {high}]"

    return Table(
        title=title,
        columns=[
            *(Column("search"), Column("score", "number"), Column("full trials", "percent")),
            *(Column("best val"), *map(Column, targets)),
        ],
        rows=[
            {
                "search": one.name,
                "score": score(one),
                "full trials": one.compute,
                "best val": interval(one.accuracy),
                **{t: interval(r.ratio) for t, r in zip(targets, one.reach, strict=True)},
            }
            for one in found
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("kept", type=Path, help="folder that keeps the replays")
    parser.add_argument("-o", dest="out", type=Path, required=True, help="Markdown file")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    record, recording = resolved_study(args.record), Recording([args.record])
    baseline = "random_none"
    studies = candidates(record)
    replays = {
        name: kept(args.kept, study, recording, 0, args.repeats, args.processes)
        for name, study in studies.items()
    }
    found = ranked(compare(list(studies.values()), replays, baseline))
    best = found[0].name
    per_task = dict(best_without(studies, replays, baseline))
    held_out = {
        name: kept(args.kept, studies[name], recording, HELD_OUT, args.held_out, args.processes)
        for name in {baseline, best, *per_task.values()}
    }
    left_out = [
        [cell for task, name in per_task.items() for cell in held_out[name][i] if cell.task == task]
        for i in range(args.held_out)
    ]
    names = {"chosen on all tasks": best, "chosen on the other tasks": None}
    shown = [studies[baseline], *(studies[best].model_copy(update={"name": name}) for name in names)]
    replayed = dict(zip([baseline, *names], [held_out[baseline], held_out[best], left_out], strict=True))
    worth = compare(shown, replayed, baseline)
    lines = [
        "# Choice of sampler and pruner",
        f"Made by `tools/choose_search.py`; seeds 0 to {args.repeats - 1}, {TRIALS} trials a task. "
        "Ratios are to random search without pruning.\n",
        markdown(table("", found)),
        f"\nThe best is `{best}`: {search_in_words(studies[best])}.\n",
        f"## What it is worth, on seeds {HELD_OUT} to {HELD_OUT + args.held_out - 1}\n",
        markdown(table("", worth.studies)),
        "\nChosen on the other tasks: "
        + ", ".join(f"{task} `{name}`" for task, name in per_task.items())
        + ".",
    ]
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
