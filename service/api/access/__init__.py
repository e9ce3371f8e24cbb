"""Who may call over HTTP: credentials in, callers or refusals out. What is decided, is decided in `service.access`."""
