"""Every two variants of the hand-made ledger compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.ablation import read_ablation
from analysis.pairs import as_list, as_matrix, read_pairs
from wst.errors import InputError


def test_each_pair_is_what_the_ablation_says_of_it(alpha: Path) -> None:
    found = read_pairs([alpha])
    assert found.labels == ("gap", "base", "twin", "big", "lin")
    assert len(found.comparisons) == 10
    for (one, other), pair in found.comparisons.items():
        against = {c.variant: c for c in read_ablation([alpha], other).comparisons}[one]
        assert (pair.difference, pair.noise, pair.p) == (against.difference, against.noise, against.p)
        assert pair.verdict == against.verdict
    # The smallest p of ten, 1/8, times ten.
    assert all(pair.p_holm == 1 for pair in found.comparisons.values())


def test_the_matrix_is_antisymmetric_and_brackets_what_is_inside_the_noise(alpha: Path) -> None:
    table = as_matrix(read_pairs([alpha]))
    cells = {str(row["variant"]).split()[1]: row for row in table.rows}
    assert cells["base"]["5"] == "+16.5" and cells["lin"]["2"] == "-16.5"
    assert cells["base"]["3"] == "(+0.0)" and cells["base"]["2"] is None
    assert cells["big"]["2"] == "(-10.8)"  # one seed
    assert any(line.startswith("5 of 10 pairs") for line in table.notes), table.notes


def test_the_list_has_a_row_a_pair(alpha: Path) -> None:
    rows = as_list(read_pairs([alpha])).rows
    assert len(rows) == 10
    assert {"variant": "base", "other": "lin", "verdict": "better"}.items() <= rows[6].items()


def test_only_variants_of_one_kind_of_tuning(alpha: Path) -> None:
    assert "base" not in read_pairs([alpha], "untuned").labels
    with pytest.raises(InputError, match="at least two variants with completed final trials; found 1"):
        read_pairs([alpha], "tuned")
