"""`make screenshots`: pictures of every page, of a real service with the shipped model and sample data."""
