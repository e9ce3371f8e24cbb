"""Authored multi-turn conversations: their shape and paths in `flow`, reading them from YAML in `reading`."""
