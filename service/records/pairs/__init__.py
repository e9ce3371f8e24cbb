"""Preference pairs: two versions' replies to one recorded prompt, and which of them somebody prefers."""
