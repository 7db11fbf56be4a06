"""Fixtures of the tests of language models in the SDK."""

from tests.actors.conftest import script

__all__ = ["script"]
