"""Safety: rules about what customers write and about what the bot is about to say. Start at `rules`."""
