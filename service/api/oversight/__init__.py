"""/v1/model-versions and /v1/insights: what the staff's pages ask for. Reading needs `review`, moving `admin`."""
