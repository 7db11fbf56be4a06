"""Pools of agents: one name, members that come and go, and whose turn a message is."""
