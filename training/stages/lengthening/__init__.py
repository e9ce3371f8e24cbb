"""A bundle that reads long conversations: texts to learn from, training, the gate on what hashing costs, the bundle."""
