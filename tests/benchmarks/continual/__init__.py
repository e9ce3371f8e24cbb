"""Parts of the benchmark of learning round after round. Start at `tests.benchmarks.bench_continual`."""
