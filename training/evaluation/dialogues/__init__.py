"""Whole conversations: simulated customers who want something, and pages for people to read."""
