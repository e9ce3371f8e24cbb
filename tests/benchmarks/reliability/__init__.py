"""The promises, held against the real service process with the bundle that ships: start at `table`."""
