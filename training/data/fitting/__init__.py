"""Replies for what only some customers say, and what the others suppose."""
