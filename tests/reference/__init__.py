"""Slow second implementations, used as oracles."""
