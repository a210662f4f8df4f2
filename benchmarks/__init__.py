"""Benchmarks: each is a module to be run, ``python -m benchmarks.engine``, and has a page in ``results/``."""
