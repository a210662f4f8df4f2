"""``python -m wst``."""

import sys
from importlib import import_module
from pathlib import Path

# Python puts the current folder first: one with an ``analysis/`` of its own would hide ours.
sys.path[0] = str(Path(__file__).parents[1])
import_module("wst.cli.app").main()
