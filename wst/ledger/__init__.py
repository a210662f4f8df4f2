"""A study's Parquet tables: the only truth about it."""

from wst.ledger.past import history
from wst.ledger.reading import read_table, resolved_study
from wst.ledger.writing import Ledger

__all__ = ["Ledger", "history", "read_table", "resolved_study"]
