"""Who may call: API keys and their tenants, widget tokens, rate limits. Start reading at `access_control`."""
