"""What becomes of a candidate: thumbs of both versions since they answer side by side, and the decision about them."""
