"""The embedded PostgreSQL as a process: its binaries, its files, its life, its disk, its backups."""
