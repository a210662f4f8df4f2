"""What a study did, counted by hand."""

from __future__ import annotations

from pathlib import Path

from analysis.load import studies_of
from analysis.report.census import census, failures_table, reads_table


def test_trials_of_the_census_that_were_not_run(extended: Path) -> None:
    counted = census(extended, studies_of([extended])["extended"])
    search, confirm, final = counted.counts
    assert {name: search[name] for name in ("completed", "failed", "not run", "epochs")} == {
        "completed": 6,
        "failed": 1,
        "not run": 9,
        "epochs": 12,
    }
    assert (confirm["completed"], final["test reads"]) == (10, 12)
    assert ("ceiling", "100 trainable parameters without the head") in counted.facts
    failures = failures_table([extended])
    assert [row["trial"] for row in failures.rows] == ["digits.base.search.0007"]
    assert failures.notes == [
        "8 settings have more trainable parameters than the ceiling, and were not trained."
    ]
    reads = reads_table([extended])
    assert [(row["variant"], row["reads"], row["settings a task"]) for row in reads.rows] == [
        ("base", 6, "1-2"),
        ("twin", 6, "1-2"),
    ]
    by_others = "an unknown number of times by others on this machine."
    assert reads.notes == [
        "No read outside stage final, and one a seed and settings.",
        f"Test images of digits read 8 times by this study, {by_others}",
        f"Test images of emoji_group read 4 times by this study, {by_others}",
    ]
