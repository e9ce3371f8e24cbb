"""How good a policy is, measured on prompts that feedback cannot touch. Start reading at `scorecard`."""
