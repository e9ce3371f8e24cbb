"""The reward as a run uses it: the composite of all terms, its baselines, and how reliable its score is."""
