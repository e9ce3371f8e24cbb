"""Telling the shop's desk that a conversation was handed over to a person."""
