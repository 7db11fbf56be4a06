"""Fixtures: one server process for all tests, forgetful between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.remote_engine.rig import ServerProcess


@pytest.fixture(scope="session")
def server_process() -> Iterator[ServerProcess]:
    process = ServerProcess()
    yield process
    process.close()


@pytest.fixture
def server(server_process: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server_process.control(reset=True)
    return server_process
