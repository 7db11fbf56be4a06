"""LLM requests: who computes next, and within which limits."""
