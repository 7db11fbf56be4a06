"""The engine for models behind an OpenAI-compatible HTTP API (the extra ``llmos[remote]``)."""

from actors.remote_engine.engine import RemoteEngine

__all__ = ["RemoteEngine"]
