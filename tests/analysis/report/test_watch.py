"""The report that is made again while a study goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report.watch import watch_report
from tests.analysis.ledgers import Writer, alpha_study

pytestmark = pytest.mark.slow  # makes pages
RELOADS = '<body data-reload="5">'


def _study(folder: Path) -> Writer:
    lin = {"lin": {"method": "linear", "fixed": {"lr": 0.05}}}
    return Writer(folder, alpha_study(variants=lin, tasks=["digits"], search=None, final={"seeds": 2}))


def test_a_page_is_made_when_the_ledger_has_changed_and_the_last_one_stays(tmp_path: Path) -> None:
    out, lines, waits, seen = tmp_path / "report.html", list[str](), list[float](), list[str]()
    writer = _study(tmp_path / "study")
    with writer.ledger:
        # A trial ends in the first wait and in the third; nothing happens in the second.
        happens = iter([{"number": 0, "seed": 1}, {}, {"number": 1, "seed": 2}])

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            seen.append(out.read_text())
            trial = next(happens)
            if trial:
                writer.add(
                    "digits",
                    "lin",
                    "final",
                    trial["number"],
                    {"lr": 0.05},
                    seed=trial["seed"],
                    test_top1=0.5,
                    test_images=797,
                )

        watch_report([tmp_path / "study"], out, 5, told=lines.append, sleep=sleep)
    assert waits == [5, 5, 5]
    assert all(RELOADS in page for page in seen)
    assert ["0 trials" in seen[0], "1 trials" in seen[1], seen[1] == seen[2]] == [True] * 3
    last = out.read_text()
    assert "2 trials" in last and "<body>" in last
    assert len(lines) == 3 and all(line.startswith(f"report: {out}, made at ") for line in lines)
    assert [line.endswith("; all trials have ended") for line in lines] == [False, False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "study"]


def test_the_page_that_an_interrupt_leaves_does_not_reload(tmp_path: Path) -> None:
    def sleep(_: float) -> None:
        assert RELOADS in out.read_text()
        raise KeyboardInterrupt

    out, lines = tmp_path / "report.html", list[str]()
    with _study(tmp_path / "study").ledger:
        pass
    with pytest.raises(KeyboardInterrupt):
        watch_report([tmp_path / "study"], out, 5, told=lines.append, sleep=sleep)
    assert "<body>" in out.read_text() and len(lines) == 1
