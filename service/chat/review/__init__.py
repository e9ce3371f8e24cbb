"""Review: what the shop's staff reads of conversations, and what it says about replies."""
