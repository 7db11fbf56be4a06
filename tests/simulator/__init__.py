"""The seeded simulator: one seed, one history, every promise checked (DESIGN section 10)."""
