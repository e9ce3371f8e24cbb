"""Corpora in, batches out: importers, the authored domain pack, cleaning, windows."""
