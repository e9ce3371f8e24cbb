"""Curation in its parts: who is believed, what is set aside, what may weigh how much, what no thumb said."""
