"""Benchmarks: run by hand through `make`, never as tests."""
