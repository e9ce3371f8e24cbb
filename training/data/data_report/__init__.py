"""The data report: what is in imported rows, before anybody trains on them. Start at `describe`."""
