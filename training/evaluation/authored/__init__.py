"""Messages that were written to measure with, as data: in no pack, never trained on."""
