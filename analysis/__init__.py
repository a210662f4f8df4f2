"""Reading ledgers: numbers, tables, figures and the report, without torch and without Ray."""
