"""Attention over long texts by hashing that sees no later token."""
