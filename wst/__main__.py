"""``python -m wst``."""

from wst.cli import main

main()
