"""What people call from Python: studies run, and what came of them, behind the names of ``wst`` itself."""
