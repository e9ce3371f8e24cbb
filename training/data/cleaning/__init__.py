"""Cleaning real dialogues before a model reads them. START READING AT `exchanges`."""
