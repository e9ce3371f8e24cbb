"""What the service keeps, over HTTP: conversations, and the keys of requests that may come twice."""
