"""Reading ledgers: tables and figures, without torch and without Ray."""
