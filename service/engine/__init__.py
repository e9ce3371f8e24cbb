"""Token ids in, token ids out: several completions at once on one CPU thread. Start reading at `engine`."""
