"""How the policy stage learns: algorithms that take a step at a time, and the ladder they climb. Start at `ladder`."""
