"""Where the shelf stands: on a local directory or in a bucket of S3. Start reading at `protocol`; `places` chooses."""
