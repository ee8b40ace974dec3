"""Benchmarks: each module is a command, `python -m tests.benchmarks.NAME`, and prints ratios."""
