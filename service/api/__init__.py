"""HTTP to domain and back: translation only, no decisions. Start reading at `completions`."""
