"""Hand-overs to a person, waiting to be told to the shop's desk."""
