"""What outlives a crash: rows of the core's state in one SQLite file, read back at start."""
