"""What clients get: the service and llama-cpp-python's server under the same conversations, over real sockets."""
