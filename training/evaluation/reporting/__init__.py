"""The report as text, and two bundles beside each other."""
