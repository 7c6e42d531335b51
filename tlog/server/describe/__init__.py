"""What the service says of its own interface, and of errors."""
