"""What the product does, free of HTTP: mask, cut, complete, unmask, record. Start reading at `chatbot`."""
