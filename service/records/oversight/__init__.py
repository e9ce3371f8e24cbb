"""Counts for those who run the bot, read beside the service's own connection so that no reply waits for them."""
