"""Reading long prompts, each way in a process of its own."""
