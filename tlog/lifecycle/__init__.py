"""The life of a log: making it, opening it, running it, and the journal of who asks."""
