"""Comparison: two versions answer the same prompts, for people who decide between them. Nothing of it is recorded."""
