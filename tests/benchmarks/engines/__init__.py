"""Tokens a second of several engines on networks of the same shape: one module a contender, one interface."""
