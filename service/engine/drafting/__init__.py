"""Guessing what a reply says next, for the network to check several tokens at once."""
