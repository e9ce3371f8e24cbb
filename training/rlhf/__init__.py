"""What preference learning and policy optimisation compute: pure functions, every shape stated. Start at `rollout`."""
