"""Figures: each `bench_*.py` measures a few, and prints them as JSON lines through `python -m benchmarks`."""
