"""Authored help articles: what a pack holds of them, and the exchanges that they make."""
