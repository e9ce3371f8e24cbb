"""Customers' messages by the sentiment that they have."""
