"""What else holds records: exports and backups, and how an erasure reaches them."""
