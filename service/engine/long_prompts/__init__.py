"""Reading prompts that are too long to be read exactly."""
