"""Terms of the reward that are read off the words alone: flattery, bias, handing over to a person."""
