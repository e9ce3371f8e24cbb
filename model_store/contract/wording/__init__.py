"""Wording that both programs judge by: what no reply may hold."""
