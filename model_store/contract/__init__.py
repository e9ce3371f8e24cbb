"""What the service and the training job must agree on, bit for bit. Start reading at `chat_template`."""
