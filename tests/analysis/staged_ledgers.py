"""Ledgers of studies with several stages and objectives, worked out by hand in the tests.

``extended`` searched 5 settings of ``base`` on digits, confirmed the best 2 over 2 seeds, retrained the
winner over 2, and was then extended to 8.  In per cent on val; a dash stands for what was not run:

======  ======  ==========  =========  =========================================  =============
number  search  parameters  confirmed  why                                        test of finals
======  ======  ==========  =========  =========================================  =============
0       80      80          83 85      the winner at first: 84 beats 81           70 72
1       82      100         80 82      first of the search at first               -
2       79      100         -          -                                          -
3       82      100         -          the settings of 1 again, not run           -
4       -       -           -          above the ceiling, not run                 -
5       90      100         84 82      second now: ties with 6 at 83              -
6       85      90          83 83      the winner now: fewer parameters           60 62
7       -       -           -          failed                                     -
======  ======  ==========  =========  =========================================  =============

0 has the highest mean of all, and is no candidate any more: it is not among the best 2 of the search.
``twin`` takes the settings over and was retrained under both, at 50 52 and then 40 44.  On emoji_group the
search ran 1 setting, 70, confirmed at 66 66, test 55 57 (base) and 45 47 (twin).

``front`` optimises accuracy and parameters.  On digits two settings went on, of 90 % with 100 parameters
(test 80 82) and of 85 % with 50 (test 75 77), on emoji_group one of 70 % with 60 parameters (test 50 52).

``shared`` searched 3 settings that both tasks share, confirmed the best 2 over 2 seeds, retrained the winner
over 2, was extended to 4, and has not retrained the new winner on emoji_group yet.  In per cent:

======  ============  =====================  ===================================  =============
number  search        confirmed              why                                  test of finals
        digits emoji  digits  emoji  (mean)                                       digits  emoji
======  ============  =====================  ===================================  =============
0       90     50     84 84   50 50  (67)    the winner at first; best on digits  70 72   50 52
1       60     70     60 60   66 -           out: a seed failed on emoji_group    -       -
2       95     -      -       -              failed on emoji_group                -       -
3       88     60     80 82   62 62  (71.5)  the winner now                       74 76   -
======  ============  =====================  ===================================  =============
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.analysis.ledgers import LR, Writer, alpha_study
from wst.data.mini import MINI
from wst.study import Study

TASKS = ("digits", "emoji_group")


def extended_study() -> Study:
    return alpha_study(
        name="extended",
        tasks=list(TASKS),
        variants={
            "base": {"method": "wst", "space": {"lr": LR}, "fixed": {"r": 2}},
            "twin": {"method": "wst", "settings_from": "base", "fixed": {"r": 2}},
        },
        search={"trials": 8, "max_trainable_parameters": 100},
        confirm={"top": 2, "seeds": 2},
        final={"seeds": 2},
        ties="trainable_parameters",
    )


def front_study() -> Study:
    return alpha_study(
        name="front",
        tasks=list(TASKS),
        variants={"base": {"method": "wst", "space": {"lr": LR}, "fixed": {"r": 2}}},
        search={"trials": 3, "objectives": ["val_top1", "trainable_parameters"]},
        final={"seeds": 2},
    )


def shared_study() -> Study:
    return alpha_study(
        name="shared",
        tasks=list(TASKS),
        variants={"base": {"method": "wst", "space": {"lr": LR}, "fixed": {"r": 2}, "settings": "shared"}},
        search={"trials": 4, "sampler": {"type": "random"}},
        confirm={"top": 2, "seeds": 2},
        final={"seeds": 2},
    )


class _Cell:
    def __init__(self, writer: Writer, task: str):
        self.writer, self.task, self.confirms, self.finals = writer, task, 0, {"base": 0, "twin": 0}

    def search(self, number: int, val: float | None, parameters: int, **more: Any) -> None:
        settings = {"lr": 0.001 * (more.pop("like", number) + 1), "r": 2}
        known = {"val": None if val is None else val / 100, "loss": 1.0, "trainable_parameters": parameters}
        self.writer.add(self.task, "base", "search", number, settings, **(known | more))

    def confirm(self, parent: int, values: list[float | None], parameters: int = 100) -> None:
        for seed, value in enumerate(values):
            known: dict[str, Any] = {"state": "failed", "error_type": "RuntimeError", "error_text": "broke"}
            if value is not None:
                known = {"val": value / 100, "loss": 1.0}
            settings = {"lr": 0.001 * (parent + 1), "r": 2}
            known |= {"seed": 1001 + seed, "parent": f"{self.task}.base.search.{parent:04d}"}
            known |= {"trainable_parameters": parameters}
            self.writer.add(self.task, "base", "confirm", self.confirms, settings, **known)
            self.confirms += 1

    def final(self, parent: int, values: list[float], parameters: int, variant: str = "base") -> None:
        for seed, value in enumerate(values):
            known = {"test_top1": value / 100, "test_images": MINI.task(self.task).test}
            known |= {"seed": 1 + seed, "parent": f"{self.task}.base.search.{parent:04d}"}
            known |= {"trainable_parameters": parameters}
            settings = {"lr": 0.001 * (parent + 1), "r": 2}
            self.writer.add(self.task, variant, "final", self.finals[variant], settings, **known)
            self.finals[variant] += 1


_CEILING: dict[str, Any] = {
    "state": "failed",
    "attempts": 0,
    "error_type": "CeilingError",
    "error_text": "expected at most 100 trainable parameters; found 200",
    "wall_seconds": 0.0,
    "train_seconds": 0.0,
}


def write_extended(folder: Path) -> Path:
    writer = Writer(folder, extended_study())
    with writer.ledger:
        digits, emoji = _Cell(writer, "digits"), _Cell(writer, "emoji_group")
        digits.search(0, 80, 80)
        digits.search(1, 82, 100)
        digits.search(2, 79, 100)
        again = {"attempts": 0, "parent": "digits.base.search.0001", "wall_seconds": 0.0}
        digits.search(3, 82, 100, like=1, **again)
        digits.search(4, None, 200, **_CEILING)
        digits.confirm(1, [80, 82])
        digits.confirm(0, [83, 85], 80)
        digits.final(0, [70, 72], 80)
        digits.final(0, [50, 52], 80, "twin")
        digits.search(5, 90, 100)
        digits.search(6, 85, 90)
        digits.search(7, None, 100, state="failed", error_type="RuntimeError", error_text="it broke")
        digits.confirm(5, [84, 82])
        digits.confirm(6, [83, 83], 90)
        digits.final(6, [60, 62], 90)
        digits.final(6, [40, 44], 90, "twin")
        emoji.search(0, 70, 60)
        for number in range(1, 8):
            emoji.search(number, None, 200, **_CEILING)
        emoji.confirm(0, [66, 66], 60)
        emoji.final(0, [55, 57], 60)
        emoji.final(0, [45, 47], 60, "twin")
    return folder


def write_front(folder: Path) -> Path:
    writer = Writer(folder, front_study())
    with writer.ledger:
        digits, emoji = _Cell(writer, "digits"), _Cell(writer, "emoji_group")
        digits.search(0, 85, 50)
        digits.search(1, 90, 100)
        digits.search(2, 84, 60)
        emoji.search(0, 70, 60)
        emoji.search(1, 60, 60)
        emoji.search(2, 70, 70)
        digits.final(1, [80, 82], 100)
        digits.final(0, [75, 77], 50)
        emoji.final(0, [50, 52], 60)
    return folder


def write_shared(folder: Path) -> Path:
    writer = Writer(folder, shared_study())
    failed = {"state": "failed", "error_type": "RuntimeError", "error_text": "it broke"}
    with writer.ledger:
        digits, emoji = _Cell(writer, "digits"), _Cell(writer, "emoji_group")
        for number, (first, second) in enumerate(((90, 50), (60, 70), (95, None))):
            digits.search(number, first, 100)
            emoji.search(number, second, 100, **({} if second else failed))
        digits.confirm(0, [84, 84])
        digits.confirm(1, [60, 60])
        emoji.confirm(0, [50, 50])
        emoji.confirm(1, [66, None])
        digits.final(0, [70, 72], 100)
        emoji.final(0, [50, 52], 100)
        digits.search(3, 88, 100)
        emoji.search(3, 60, 100)
        digits.confirm(3, [80, 82])
        emoji.confirm(3, [62, 62])
        digits.final(3, [74, 76], 100)
    return folder
