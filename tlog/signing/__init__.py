"""Signing checkpoints: the key, the clock, the anchor, and the socket of a signer of its own."""
