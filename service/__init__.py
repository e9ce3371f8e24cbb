"""The chat service: REST and server-sent events in front of one model. Start reading at `app.create_app`."""
