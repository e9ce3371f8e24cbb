"""Safety rules, as the service keeps to them and evaluation answers by them. Start at `rules`."""
