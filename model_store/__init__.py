"""The shelf between the two programs, and the formats that cross it."""
