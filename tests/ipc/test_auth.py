"""ipc/auth.py: tokens are compared, hashed and kept so that nobody else gets them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.auth import (
    ensure_operator_token,
    hash_token,
    is_token,
    is_token_of,
    new_token,
    read_operator_token,
)
from ipc.errors import TokenFileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "operator.token"


def test_tokens_are_long_and_never_repeat() -> None:
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {64}


@given(st.text())
def test_only_the_token_itself_is_the_token(claimed: str) -> None:
    token = new_token()

    assert is_token(token, token)
    assert is_token_of(token, hash_token(token))
    assert not is_token(claimed, token)
    assert not is_token_of(claimed, hash_token(token))


def test_a_hash_tells_nothing_of_its_token() -> None:
    token = new_token()

    assert hash_token(token) == hash_token(token) != hash_token(new_token())
    assert token not in hash_token(token)
    assert not is_token_of(hash_token(token), hash_token(token))


def test_the_first_start_makes_a_token_that_later_ones_find(path: Path) -> None:
    token = ensure_operator_token(path)

    assert ensure_operator_token(path) == read_operator_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_a_generous_umask_does_not_open_the_file(path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_operator_token(path)
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600


def test_starts_at_the_same_time_agree_on_one_token(path: Path) -> None:
    barrier, tokens = threading.Barrier(8), []

    def start() -> None:
        barrier.wait()
        tokens.append(ensure_operator_token(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(tokens) == 8
    assert set(tokens) == {read_operator_token(path)}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    ensure_operator_token(path)
    path.chmod(mode)

    for read in (read_operator_token, ensure_operator_token):
        with pytest.raises(TokenFileError, match="others can read it") as caught:
            read(path)
        assert caught.value.path == str(path)


def test_a_missing_file_says_who_makes_it(path: Path) -> None:
    with pytest.raises(TokenFileError, match="a kernel makes it"):
        read_operator_token(path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 64, b"0" * 65, b"0" * 100_000])
def test_a_file_that_holds_no_token_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(TokenFileError, match="holds no token"):
        ensure_operator_token(path)
    assert path.read_bytes() == content


def test_a_link_is_refused(path: Path) -> None:
    real = path.with_name("real")
    ensure_operator_token(real)
    path.symlink_to(real)

    with pytest.raises(TokenFileError, match="link"):
        read_operator_token(path)


def test_a_pipe_or_a_directory_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(TokenFileError, match="regular"):
        read_operator_token(path)

    with pytest.raises(TokenFileError, match="regular"):
        read_operator_token(path.parent)


def test_a_folder_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(TokenFileError, match="No such file"):
        ensure_operator_token(path / "below" / "operator.token")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    ensure_operator_token(path)
    os.chown(path, 12345, -1)

    with pytest.raises(TokenFileError, match="user 12345"):
        read_operator_token(path)
