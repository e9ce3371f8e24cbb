"""/v1/review: what the staff's review console asks for. All of it needs the scope `review`."""
