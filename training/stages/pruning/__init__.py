"""Making a smaller bundle of one: what is cut out, and what that costs."""
