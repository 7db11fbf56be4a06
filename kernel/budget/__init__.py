"""Budgets: what the agents of a spawn tree may use, reserved before and settled after."""
