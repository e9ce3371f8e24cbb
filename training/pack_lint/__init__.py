"""Linting an authored domain pack: `python -m training check-domain`. Start reading in `lint`."""
