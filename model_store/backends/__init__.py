"""Where the shelf stands: on a local directory for now. Start reading at `protocol`."""
