"""What replies say, whatever was asked: placeholders, claims, repetition, perplexity."""
