"""What a candidate may have become worse at while it learned to be liked: on authored messages, never on ratings."""
