"""What changes a log: appending, sealing and indexing, each by one leader at a time."""
