"""Parts of `make bench-learning`. Start at `tests.benchmarks.bench_learning`."""
