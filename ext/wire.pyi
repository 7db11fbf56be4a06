from collections.abc import Sequence

from typing_extensions import Buffer

MAGIC: int
VERSION: int
HEADER_SIZE: int

def checksum(buf: bytes | memoryview) -> int: ...
def digest64(buf: bytes | memoryview) -> int: ...

class Envelope:
    kind: int
    priority: int
    flags: int
    sender: int
    receiver: int
    sequence: int
    acknowledged: int
    message: int
    turn: int
    correlation: int
    deadline: int
    trace: bytes
    digest: bytes
    index: int
    payload_checksum: int
    payload: bytes
    attachments: tuple[Buffer, ...]

    def __init__(
        self,
        kind: int,
        sender: int = 0,
        receiver: int = 0,
        payload: bytes = b"",
        *,
        message: int = 0,
        turn: int = 0,
        correlation: int = 0,
        deadline: int = 0,
        index: int = 0,
        flags: int = 0,
        priority: int = 4,
        trace: bytes = b"",
        digest: bytes = b"",
        attachments: tuple[Buffer, ...] = (),
        sequence: int = 0,
        acknowledged: int = 0,
    ) -> None: ...
    def copy(self) -> Envelope: ...
    @property
    def size(self) -> int: ...

def pack(envelopes: list[Envelope]) -> bytes: ...
def pack_parts(envelopes: list[Envelope]) -> list[Buffer]: ...
def unpack_parts(parts: Sequence[Buffer], max_payload: int) -> tuple[int, list[Envelope]]: ...
def unpack(
    batch: bytes, attachments: list[Buffer], max_payload: int
) -> tuple[int, list[Envelope]]: ...
