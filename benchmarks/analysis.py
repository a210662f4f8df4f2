"""Analysis of a large ledger: time and peak memory, beside plain pandas over the same files.

    python -m benchmarks.analysis [--trials 1000000] [--epochs 20000000] [--folder DIR]

Generates a ledger of the size of many studies (few large Parquet files, as a compacted ledger holds them),
then runs each of these in a process of its own: the leaderboard, the front, the report, and pandas
``read_parquet`` with ``groupby`` over the same files.  Goals on 2 cores: leaderboard and front under 5 s
and 2 GB, the report under 60 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import peak
from benchmarks.pages import Page, table
from wst.data.suites import find_suite
from wst.ledger.hyperparameters import column_types
from wst.ledger.schema import table_schemas
from wst.ledger.writing import COMPACTED
from wst.study import Study

SEEDS = 5
VARIANTS = [f"wst-{i}" for i in range(10)]


def study(trials: int) -> Study:
    tasks = len(find_suite("vtab1k").tasks)
    space: dict[str, Any] = {
        "scale": {"type": "categorical", "choices": [0.1, 1.0, 10.0]},
        "lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "drop_path": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
    }
    return Study.model_validate(
        {
            "name": "large",
            "suite": "vtab1k",
            "backbone": "vit_base_patch16_224",
            "variants": {v: {"method": "wst", "space": space, "fixed": {"r": 2}} for v in VARIANTS},
            "recipe": {"epochs": 20, "warmup_epochs": 2},
            "search": {"trials": max(1, trials // (tasks * len(VARIANTS)) - SEEDS)},
            "final": {"seeds": SEEDS},
        }
    )


def generate(folder: Path, trials: int, epochs: int) -> None:
    """Write ``trials`` trials and ``epochs`` epoch rows; each cell's search trials, then its final trials."""
    made = study(trials)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(made.to_yaml())
    for name in ("trials", "epochs", "intents"):
        (folder / "ledger" / name).mkdir(parents=True, exist_ok=True)
    assert made.search is not None
    generator = np.random.default_rng(0)
    schemas = table_schemas(column_types(made))
    per_trial = max(1, round(epochs / trials))
    writers = {
        name: pq.ParquetWriter(folder / "ledger" / name / f"{COMPACTED}0.parquet", schemas[name])
        for name in ("trials", "epochs")
    }
    for task, variant in made.cells:
        group = find_suite("vtab1k").task(task).group
        for stage, number in (("search", made.search.trials), ("final", SEEDS)):
            ids = [f"{task}.{variant}.{stage}.{i:04d}" for i in range(number)]
            lr = 10 ** generator.uniform(-4, -2, number)
            accuracy = np.clip(0.8 - 0.1 * abs(np.log10(lr) + 3) + generator.normal(0, 0.03, number), 0, 1)
            accuracy = np.round(accuracy * 200) / 200
            state = np.where(generator.random(number) < 0.5, "pruned", "completed")
            final = stage == "final"
            known: dict[str, Any] = {
                "study": ["large"] * number,
                "trial_id": ids,
                "task": [task] * number,
                "variant": [variant] * number,
                "stage": [stage] * number,
                "number": range(number),
                "ask_order": range(number),
                "seed": range(1, number + 1) if final else [0] * number,
                "parent": [f"{task}.{variant}.search.0000" if final else None] * number,
                "reason": ["best of many on val" if final else "suggested by the sampler"] * number,
                "hp_lr": lr,
                "hp_weight_decay": [0.05] * number,
                "hp_scale": generator.choice([0.1, 1.0, 10.0], number),
                "hp_drop_path": generator.choice([0.0, 0.1, 0.2, 0.3, 0.4], number),
                "hp_r": [2] * number,
                "suite": ["vtab1k"] * number,
                "group": [group] * number,
                "method": ["wst"] * number,
                "normalisation": ["mean 0.5/0.5/0.5 std 0.5/0.5/0.5"] * number,
                "configuration": [json.dumps({"hyperparameters": {"lr": float(value)}}) for value in lr],
                "state": ["completed"] * number if final else state,
                "epochs": [per_trial] * number,
                "val_top1_last": [None] * number if final else accuracy,
                "val_loss": [None] * number if final else 1 - accuracy,
                "test_top1": accuracy if final else [None] * number,
                "test_images": [10_000] * number if final else [None] * number,
                "trainable_parameters": [80_000] * number,
                "head_parameters": [7_690] * number,
                "train_seconds": generator.uniform(50, 60, number),
                "wall_seconds": generator.uniform(60, 70, number),
                "peak_memory": [2**31] * number,
                "device": ["some GPU"] * number,
                "node": [f"node{i % 8}" for i in range(number)],
                "data_hash": [f"hash of {task}"] * number,
            }
            writers["trials"].write_table(filled(schemas["trials"], known, number))
            rows = number * per_trial
            epoch = np.tile(np.arange(1, per_trial + 1), number)
            values = np.round(np.repeat(accuracy, per_trial) * (1 - 0.5**epoch) * 200) / 200
            curves: dict[str, Any] = {
                "study": pa.repeat("large", rows),
                "trial_id": pa.array(ids).take(pa.array(np.repeat(np.arange(number), per_trial))),
                "task": pa.repeat(task, rows),
                "variant": pa.repeat(variant, rows),
                "stage": pa.repeat(stage, rows),
                "epoch": epoch,
                "lr": np.repeat(lr, per_trial),
                "train_loss": 1 - values,
                "seconds": generator.uniform(1, 2, rows),
            }
            if not final:
                curves |= {"val_loss": 1 - values, "val_top1": values}
            writers["epochs"].write_table(filled(schemas["epochs"], curves, rows))
    for writer in writers.values():
        writer.close()


def filled(schema: pa.Schema, known: dict[str, Any], rows: int) -> pa.Table:
    """A table of so many rows; columns that are not known are null."""
    strange = set(known) - set(schema.names)
    assert not strange, f"columns that no ledger has: {strange}"
    columns = [
        _column(known[field.name], field.type) if field.name in known else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    array = pa.array(values)
    return array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)


def leaderboard(folder: Path) -> None:
    from analysis.leaderboard.board import read_leaderboard
    from analysis.leaderboard.table import as_table

    assert as_table(read_leaderboard([folder])).rows


def front(folder: Path) -> None:
    from analysis.leaderboard.board import read_leaderboard
    from analysis.pareto import front

    assert front(read_leaderboard([folder])).points


def report(folder: Path) -> None:
    from analysis.report.sections import write_report

    write_report([folder], folder / "report.html")


def pandas_trials(folder: Path) -> None:
    import pandas as pd

    trials = pd.read_parquet(folder / "ledger" / "trials")
    assert len(trials[trials["stage"] == "final"].groupby(["variant", "task"])["test_top1"].mean())


def pandas_epochs(folder: Path) -> None:
    import pandas as pd

    epochs = pd.read_parquet(folder / "ledger" / "epochs")
    assert len(epochs.groupby("epoch")["val_top1"].median())


BESIDE = "pandas: read trials, group"
"""What the others are ratios of."""
TARGETS: dict[str, Callable[[Path], None]] = {
    "leaderboard": leaderboard,
    "front": front,
    "report": report,
    BESIDE: pandas_trials,
    "pandas: read epochs, group": pandas_epochs,
}


def measure(name: str, folder: Path) -> None:
    """In a process of its own: seconds, imports included, and peak memory."""
    began = time.perf_counter()
    TARGETS[name](folder)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak": peak()}))


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, help="keep the ledger in this folder, or take the one in it")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="NAME")
    quick = {"trials": 1000, "epochs": 3000, "targets": ["leaderboard", BESIDE]}
    page = Page("Analysis of a large ledger", parser, quick, libraries=("pandas", "pyarrow"))
    options, sizes, found = page.options, [], {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "large"
        if not (folder / "study.yaml").exists():
            generate(folder, options.trials, options.epochs)
        for name in ("trials", "epochs"):
            files = sorted((folder / "ledger" / name).glob("*.parquet"))
            rows = sum(pq.read_metadata(path).num_rows for path in files)
            size = sum(path.stat().st_size for path in files)
            sizes.append([name, f"{rows:,}", len(files), f"{size / 1e6:,.0f}"])
        for name in options.targets:
            command = [sys.executable, "-m", "benchmarks.analysis", "--measure", name, str(folder)]
            result = subprocess.run(command, capture_output=True, text=True, timeout=900)
            if result.returncode:
                raise SystemExit(f"{name}: expected exit status 0; found\n{result.stderr}")
            found[name] = json.loads(result.stdout.splitlines()[-1])
    pandas = found[BESIDE]["seconds"]
    page.finish(
        "A ledger as a study of 19 tasks and 10 variants leaves it when it has ended, its values made up.",
        table(["table", "rows", "files", "MB"], sizes),
        table(
            ["", "seconds", "/ pandas on trials", "peak, MB"],
            [
                [
                    name,
                    f"{each['seconds']:.1f}",
                    f"{each['seconds'] / pandas:.1f}",
                    f"{each['peak'] / 1e6:,.0f}",
                ]
                for name, each in found.items()
            ],
        ),
        "Each in a process of its own, one after the other, once, imports included; the files were written "
        "just before and lie in the page cache. The leaderboard and the front read the trials, the report "
        "both tables. Other programs on the cores lengthen every row.",
    )


if __name__ == "__main__":
    main()
