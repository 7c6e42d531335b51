"""Checking a log without trusting it."""
