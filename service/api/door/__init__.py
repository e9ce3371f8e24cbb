"""A refusal at the door: while the service is full, ahead of the HTTP parser and the application."""
