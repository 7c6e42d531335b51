"""Keeping a log over the years: backups, restoring them, recovering what they lack."""
