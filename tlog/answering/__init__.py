"""Answers with proof."""
