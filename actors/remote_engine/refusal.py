"""What an answer that is not 200 says of itself, fit to be shown."""

from __future__ import annotations

from contextlib import suppress

from actors.remote_engine.failure import CallFailure, LieError
from actors.remote_engine.fields import error_text, read_json
from actors.remote_engine.http_client import HttpAnswer

UNAUTHORIZED = 401
FORBIDDEN = 403
MAX_REASON = 64 << 10  # bytes that are looked at
REASON_S = 5.0  # and how long


async def read_reason(http: HttpAnswer) -> str:
    """Return why the endpoint refuses, as one text; it may hold anything."""
    if http.status in (UNAUTHORIZED, FORBIDDEN):
        return "it refuses the key"  # such answers often quote it
    if 300 <= http.status < 400:
        return "it redirects, and a key is not carried elsewhere"
    try:
        async with http.for_at_most(REASON_S):
            text = (await http.read(MAX_REASON)).decode("utf-8", "replace")
    except (TimeoutError, CallFailure, LieError):
        text = ""
    with suppress(LieError):  # not every proxy says it in JSON
        text = error_text(read_json(text)) or text
    return text or "it gives no reason"
