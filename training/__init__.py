"""The offline job: dialogues and thumbs in, model versions out. Start reading at `pipeline`."""
