"""Two small studies written through the ledger, whose right answers are worked out by hand in the tests.

``alpha`` has two final seeds on four tasks.  Test accuracies in per cent, seed 1 and seed 2:

==========  ======  ===========  ==========  ==========  ==========  =================================
variant     digits  emoji_group  sprite_loc  sprite_ori  parameters  why
==========  ======  ===========  ==========  ==========  ==========  =================================
base        90 92   60 62        30 34       40 44       3,104       searched
twin        90 92   60 62        30 34       40 44       3,104       ties with base in everything
gap         95 97   70 72        50 50       failed      3,104       a task without a score
big         80 -    50 52        20 22       30 30       5,000       a seed that failed
lin         70 70   50 50        20 20       20 20       0           nothing varies
==========  ======  ===========  ==========  ==========  ==========  =================================

``beta`` has one variant ``wst5`` with five seeds and 4,000 parameters, and other images for digits: digits
90 to 94, emoji_group 60 to 64, sprite_loc 30 and sprite_ori 40 for every seed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wst.data.suites import find_suite
from wst.ledger import Ledger
from wst.records import Epoch, Intent, Outcome
from wst.study import Study

TASKS = ("digits", "emoji_group", "sprite_loc", "sprite_ori")
LR = {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}
SCALE = {"type": "categorical", "choices": [0.1, 1.0, 10.0]}
CODE = {"version": "0.1.0", "commit": "abc", "libraries": '{"python": "3.11"}'}
_START = datetime(2026, 1, 1, tzinfo=UTC)

Accuracies = dict[str, dict[str, list[float | None]]]

ALPHA: Accuracies = {
    "base": {"digits": [90, 92], "emoji_group": [60, 62], "sprite_loc": [30, 34], "sprite_ori": [40, 44]},
    "twin": {"digits": [90, 92], "emoji_group": [60, 62], "sprite_loc": [30, 34], "sprite_ori": [40, 44]},
    "gap": {
        "digits": [95, 97],
        "emoji_group": [70, 72],
        "sprite_loc": [50, 50],
        "sprite_ori": [None, None],
    },
    "big": {"digits": [80, None], "emoji_group": [50, 52], "sprite_loc": [20, 22], "sprite_ori": [30, 30]},
    "lin": {"digits": [70, 70], "emoji_group": [50, 50], "sprite_loc": [20, 20], "sprite_ori": [20, 20]},
}
BETA: Accuracies = {
    "wst5": {
        "digits": [90, 91, 92, 93, 94],
        "emoji_group": [60, 61, 62, 63, 64],
        "sprite_loc": [30] * 5,
        "sprite_ori": [40] * 5,
    }
}
PARAMETERS = {"base": 3104, "twin": 3104, "gap": 3104, "big": 5000, "lin": 0, "wst5": 4000}
SEARCH = [(0.77, 0.6, "completed"), (0.80, 0.5, "completed"), (0.30, 2.0, "pruned"), (None, None, "failed")]
SEARCH += [(0.775, 0.6, "completed"), (0.80, 0.55, "completed")]
"""validation accuracy and loss after the last epoch of the search trials of every task of ``base``."""


def alpha_study(**changes: Any) -> Study:
    fixed = {"method": "wst", "fixed": {"lr": 0.01, "r": 2}}
    variants: dict[str, Any] = {
        "base": {"method": "wst", "space": {"lr": LR, "scale": SCALE}, "fixed": {"r": 2}},
        "twin": {"method": "wst", "settings_from": "base", "fixed": {"r": 2}},
        "gap": fixed,
        "big": {"method": "wst", "fixed": {"lr": 0.01, "r": 4}},
        "lin": {"method": "linear", "fixed": {"lr": 0.05}},
    }
    data: dict[str, Any] = {
        "name": "alpha",
        "suite": "mini",
        "tasks": list(TASKS),
        "backbone": "micro",
        "variants": variants,
        "recipe": {"epochs": 2, "warmup_epochs": 1},
        "search": {"trials": 6},
        "final": {"seeds": 2},
    }
    return Study.model_validate(data | changes)


def beta_study(**changes: Any) -> Study:
    data: dict[str, Any] = {
        "name": "beta",
        "variants": {"wst5": {"method": "wst", "fixed": {"lr": 0.02, "r": 3}}},
        "search": None,
        "final": {"seeds": 5},
    }
    return alpha_study(**(data | changes))


class Writer:
    """Writes trials of a study into a ledger, one after the other."""

    def __init__(self, folder: Path, study: Study, data: str = ""):
        self.study, self.data, self.asked = study, data, 0
        self.ledger = Ledger(folder, study, CODE)

    def add(
        self,
        task: str,
        variant: str,
        stage: str,
        number: int,
        hyperparameters: dict[str, Any],
        *,
        seed: int = 0,
        parent: str | None = None,
        reason: str = "fixed in the study",
        val: float | None = None,
        **outcome: Any,
    ) -> str:
        trial_id = f"{task}.{variant}.{stage}.{number:04d}"
        intent = Intent(
            trial_id,
            task,
            variant,
            stage,  # type: ignore[arg-type]
            number,
            self.asked,
            seed,
            {"drop_path": 0.0, **hyperparameters},
            parent,
            reason,
            _START,
        )
        self.asked += 1
        known = {
            "state": "completed",
            "wall_seconds": 36.0,
            "train_seconds": 20.0,
            "peak_memory": 2**20,
            "trainable_parameters": PARAMETERS.get(variant, 100),
            "head_parameters": 64 * find_suite(self.study.suite).task(task).classes,
            "normalisation": "mean 0.5/0.5/0.5 std 0.5/0.5/0.5",
            "data_hash": f"{task}{self.data}",
            "device": "cpu",
            "node": "host",
            "started": _START,
            "ended": _START + timedelta(seconds=36),
        } | outcome
        loss = known.pop("loss", None)
        self.ledger.add_intent(intent)
        epochs = tuple(
            Epoch(e, 0.01, 1.0 / e, None if val is None else loss, None if val is None else val * e / 2, 18.0)
            for e in range(1, 3)
        )
        self.ledger.add_trial(
            intent, Outcome(**{"epochs": epochs if known["state"] != "failed" else (), **known})
        )
        return trial_id

    def finals(self, accuracies: Accuracies, digits_data: str = "") -> None:
        for variant, by_task in accuracies.items():
            for task, values in by_task.items():
                for number, value in enumerate(values):
                    settings = dict(self.study.variants[variant].fixed)
                    more: dict[str, Any] = {}
                    if variant in ("base", "twin"):
                        settings |= {"lr": 0.02, "scale": 1.0}
                        more["parent"] = f"{task}.base.search.0001"
                        found = "best of 6 on val"
                        more["reason"] = found if variant == "base" else f"settings found for base ({found})"
                    if value is None:
                        more |= {"state": "failed", "error_type": "RuntimeError"}
                        more["error_text"] = "Traceback\nRuntimeError: it broke"
                    else:
                        more |= {
                            "test_top1": value / 100,
                            "test_images": find_suite(self.study.suite).task(task).test,
                        }
                    if task == "digits":
                        more["data_hash"] = f"digits{digits_data}"
                    self.add(task, variant, "final", number, settings, seed=1 + number, **more)


def write_alpha(folder: Path) -> Path:
    writer = Writer(folder, alpha_study())
    with writer.ledger:
        for task in TASKS:
            for number, (val, loss, state) in enumerate(SEARCH):
                writer.add(
                    task,
                    "base",
                    "search",
                    number,
                    {"lr": 0.001 * (number + 1), "scale": (0.1, 1.0, 10.0)[number % 3], "r": 2},
                    reason="suggested by the sampler",
                    val=val,
                    loss=loss,
                    state=state,
                )
        writer.finals(ALPHA)
    return folder


def write_beta(folder: Path) -> Path:
    writer = Writer(folder, beta_study())
    with writer.ledger:
        writer.finals(BETA, digits_data="-other")
    return folder
