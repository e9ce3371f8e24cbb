"""The network: Hugging Face's Reformer weights, run through a plain-autograd encoder. Start reading at `model`."""
