"""The loop's demonstration: simulated customers rate a running service, and it learns. Run it with `make demo`."""
