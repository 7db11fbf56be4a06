"""LLM work in the kernel: models, engines, sessions, and who gets the next step."""
