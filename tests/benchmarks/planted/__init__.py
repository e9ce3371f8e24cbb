"""Planted rewards and planted poison through a whole learning job. Start at `tests.benchmarks.bench_planted`."""
