"""What those who run the bot see and do: how it is liked, which versions there are, and which one answers."""
