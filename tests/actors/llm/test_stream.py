"""A stream that was not read says so; one that could not be sent says that, and nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from actors.llm.llm import Llm
from actors.llm.session import LlmSession
from ipc.errors import KernelUnavailableError, UsageError


class Closed:
    """A port without a kernel."""

    def iterate_kernel(self, *arguments: Any) -> Any:
        raise KernelUnavailableError(home="nowhere")

    def ask_kernel(self, *arguments: Any) -> Any:
        raise KernelUnavailableError(home="nowhere")

    def block(self, call: Any) -> Any:
        return call.__await__().send(None)


def test_a_stream_that_nobody_reads_is_warned_of() -> None:
    with pytest.warns(RuntimeWarning, match="never read"):
        Llm(Closed()).stream("hi")


def test_a_stream_that_cannot_be_sent_raises_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KernelUnavailableError):
            list(Llm(Closed()).stream("hi"))


@pytest.mark.parametrize("ttl", [-1, float("nan"), "5", None])
def test_a_pin_lasts_a_number_of_seconds(ttl: Any) -> None:
    with pytest.raises(UsageError, match="a pin lasts"):
        LlmSession(Closed(), 1).pin(ttl)
