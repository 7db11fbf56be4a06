"""An HTTP server that speaks the OpenAI API, and misbehaves when the prompt tells it to.

Run as a process: ``python server.py``; it prints its port. The last message's content (or the
prompt) is a line of words; if the first names a behaviour below, that is what happens, else the
line is echoed. Some stop after a number of times: ``refuse 2 429 0.5`` refuses twice.

    POST /v1/chat/completions, /v1/completions
    GET  /stats      what was seen so far: Stats
    POST /control    {"key": "..."}: the only key that is good; {"release": true}: end all holds
    POST /wait       {"open": 2}: answered once the stats are at least that
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 20.0
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 3,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
}


@dataclass
class Stats:
    """What the server has seen."""

    requests: int = 0
    connections: int = 0  # over which requests came
    completed: int = 0
    open: int = 0
    max_open: int = 0
    hung_up: int = 0  # clients that left while they were held
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # when requests came; time.monotonic


class Endpoint(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Condition()
        self.stats = Stats()
        self.tries: Counter[str] = Counter()
        self.key: str | None = None
        self.released = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    is_new = True  # no call came over this connection yet
    server: Endpoint

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    # --- the API ----------------------------------------------------------------------------

    def do_GET(self) -> None:
        with self.server.lock:
            self.send_json(asdict(self.server.stats))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path in ("/control", "/wait"):
            self.control(body) if self.path == "/control" else self.wait(body)
            return
        stats = self.server.stats
        with self.server.lock:
            stats.requests += 1
            stats.connections += self.is_new
            self.is_new = False
            stats.open += 1
            stats.max_open = max(stats.max_open, stats.open)
            stats.bodies.append(body)
            stats.keys.append(self.headers.get("Authorization", ""))
            stats.cookies.append(self.headers.get("Cookie", ""))
            stats.times.append(time.monotonic())
            self.server.lock.notify_all()
        try:
            self.complete(body)
        finally:
            with self.server.lock:
                stats.open -= 1
                self.server.lock.notify_all()

    def wait(self, wanted: dict[str, int]) -> None:
        def is_so() -> bool:
            return all(getattr(self.server.stats, name) >= least for name, least in wanted.items())

        with self.server.lock:
            self.server.lock.wait_for(is_so, WAIT_S)
        self.send_json({})

    def control(self, body: dict[str, Any]) -> None:
        with self.server.lock:
            if "key" in body:
                self.server.key = body["key"]
            if body.get("release"):
                self.server.released.set()
            if body.get("reset"):
                self.server.stats = Stats()
                self.server.tries.clear()
                self.server.released = threading.Event()
                self.server.key = None
        self.send_json({})

    def complete(self, body: dict[str, Any]) -> None:
        self.body = body
        self.is_chat = self.path.endswith("/chat/completions")
        line = body["messages"][-1]["content"] if self.is_chat else body["prompt"]
        good = self.server.key
        if good is not None and self.headers.get("Authorization") != f"Bearer {good}":
            said = f"Incorrect API key provided: {self.headers.get('Authorization')}"
            self.send_json({"error": {"message": said}}, status=401)
            return
        name, *words = line.split() or [""]
        behaviour: Callable[..., None] | None = getattr(self, f"do_{name}", None)
        if behaviour is None:
            self.answer(line)
        else:
            behaviour(*words)

    # --- behaviours -------------------------------------------------------------------------

    def do_refuse(self, times: str, status: str, retry_after: str = "", *rest: str) -> None:
        line = " ".join([times, status, retry_after, *rest])
        with self.server.lock:
            self.server.tries[line] += 1
            is_enough = self.server.tries[line] > int(times)
        if is_enough:
            self.answer("at last")
            return
        headers = {"Retry-After": retry_after} if retry_after else {}
        self.send_json({"error": {"message": "come back"}}, status=int(status), headers=headers)

    def do_status(self, status: str, *words: str) -> None:
        said = " ".join(words).replace("KEY", self.headers.get("Authorization", ""))
        self.send_json({"error": {"message": said}}, status=int(status))

    def do_redirect(self) -> None:
        self.send_json({}, status=307, headers={"Location": self.path})

    def do_drop(self) -> None:
        self.hang_up()

    def do_break(self, after: str) -> None:
        """Stream so many pieces, or promise more bytes than there are, then break."""
        if not self.body["stream"]:
            self.start(200, {"Content-Type": "application/json", "Content-Length": "1000"})
            self.wfile.write(b'{"choices": [')
            self.hang_up()
            return
        self.start_events()
        for number in range(int(after)):
            self.send_event(self.chunk(f"piece{number} "))
        self.hang_up()

    def do_break_once(self, *words: str) -> None:
        """Break the first attempt at this line."""
        with self.server.lock:
            self.server.tries[" ".join(words)] += 1
            is_first = self.server.tries[" ".join(words)] == 1
        if is_first:
            self.do_break("0")
        else:
            self.answer("at last")

    def do_break_after_end(self) -> None:
        self.start_events()
        self.send_event(self.chunk("whole", finish="stop"))
        self.hang_up()

    def do_quit_early(self) -> None:
        """End the stream properly, but before the completion has ended."""
        self.start_events()
        self.send_event(self.chunk("half"))
        self.end_events()

    def do_silence(self, when: str) -> None:
        """Fall silent: "before" the answer begins, or "within" it; until the client leaves."""
        if when == "within":
            self.start_events()
            self.send_event(self.chunk("then "))
        self.wait_for_hang_up()

    def do_hold(self, *words: str) -> None:
        """Answer when /control says so; count those who hang up before."""
        if not self.wait_for_hang_up(self.server.released):
            self.answer("held " + " ".join(words))

    def do_slow(self, seconds: str) -> None:
        time.sleep(float(seconds))
        self.answer("slow")

    def do_comments(self) -> None:
        self.start_events()
        self.write_chunk(b": still here\r\n\r\ndata: \n\nevent: x\r\nid: 7\r\n")
        self.send_event(self.chunk("after comments", finish="stop"))
        self.end_events(done=True)

    def do_bytewise(self, *words: str) -> None:
        """Send each byte by itself, with CR LF line ends."""
        self.start_events()
        event = json.dumps(self.chunk(" ".join(words), finish="stop"), ensure_ascii=False)
        for byte in f"data: {event}\r\n\r\n".encode():
            self.write_chunk(bytes([byte]))
        self.end_events(done=True)

    def do_cookie(self) -> None:
        self.answer("with a cookie", headers={"Set-Cookie": "who=you; Path=/"})

    def do_raw(self, *words: str) -> None:
        """Answer 200 with just these words as the body, or as the stream's events."""
        if self.body["stream"]:
            self.start_events()
            for word in words:
                self.write_chunk(f"data: {word}\n\n".encode())
            self.end_events()
        else:
            text = " ".join(words).encode()
            self.start(200, {"Content-Type": "application/json", "Content-Length": len(text)})
            self.wfile.write(text)

    def do_html(self) -> None:
        self.start(200, {"Content-Type": "text/html", "Content-Length": "13"})
        self.wfile.write(b"<html></html>")

    def do_gzip(self) -> None:
        kind = "text/event-stream" if self.body["stream"] else "application/json"
        headers = {"Content-Type": kind, "Content-Encoding": "gzip", "Content-Length": "4"}
        self.start(200, headers)
        self.wfile.write(b"\x1f\x8b\x08\x00")

    def do_endless(self, what: str) -> None:
        """Send one line, many events or a body without end, until the client leaves."""
        if not self.body["stream"]:
            self.start(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
        else:
            self.start_events()
        parts = {
            "line": b"data: " + b"x" * 65536,
            "events": b'data: {"choices": []}\n\n' * 1000,
            "text": b"data: " + json.dumps(self.chunk("x" * 60000)).encode() + b"\n\n",
            "body": b" " * 65536,
        }
        while True:
            self.write_chunk(parts[what])

    def do_usage(self, *words: str) -> None:
        self.answer("usage", usage=json.loads(" ".join(words)))

    def do_finish(self, reason: str) -> None:
        self.answer("finish", finish=json.loads(reason))

    def do_tools(self) -> None:
        """Call two tools, in fragments if it streams."""
        calls = [
            {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}},
            {"id": "b", "type": "function", "function": {"name": "now", "arguments": ""}},
        ]
        if not self.body["stream"]:
            self.answer("", finish="tool_calls", more={"tool_calls": calls})
            return
        self.start_events()
        parts = [
            {"index": 0, "id": "a", "function": {"name": "add", "arguments": ""}},
            {"index": 0, "function": {"arguments": '{"x"'}},
            {"index": 1, "id": "b", "function": {"name": "now", "arguments": ""}},
            {"index": 0, "function": {"arguments": ": 1}"}},
        ]
        for part in parts:
            self.send_event(self.chunk(None, more={"tool_calls": [part]}))
        self.send_event(self.chunk(None, finish="tool_calls"))
        self.end_events(done=True)

    def do_arguments(self, *words: str) -> None:
        function = {"name": "add", "arguments": " ".join(words)}
        self.answer("", finish="tool_calls", more={"tool_calls": [{"function": function}]})

    def do_logprobs(self) -> None:
        if self.is_chat:
            top = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.5}]
            held: Any = {"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": top}]}
        else:
            tops = [{"yes": -0.1, "no": -2.5}]
            held = {"tokens": ["yes"], "token_logprobs": [-0.1], "top_logprobs": tops}
        self.answer("yes", logprobs=held)

    # --- answers ----------------------------------------------------------------------------

    def answer(
        self,
        text: str,
        *,
        finish: Any = "stop",
        usage: Any = USAGE,
        more: dict[str, Any] | None = None,
        logprobs: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        with self.server.lock:
            self.server.stats.completed += 1
        if self.body["stream"]:
            self.start_events(headers)
            for word in text.split():
                self.send_event(self.chunk(f"{word} "))
            last = self.chunk(None if self.is_chat else "", finish, more=more, logprobs=logprobs)
            self.send_event(last)
            if self.body.get("stream_options", {}).get("include_usage"):
                self.send_event({"choices": [], "usage": usage})
            self.end_events(done=True)
            return
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": logprobs}
        if self.is_chat:
            choice["message"] = {"role": "assistant", "content": text, **(more or {})}
        else:
            choice["text"] = text
        self.send_json({"id": "1", "choices": [choice], "usage": usage}, headers=headers)

    def chunk(
        self,
        text: str | None,
        finish: Any = None,
        *,
        more: dict[str, Any] | None = None,
        logprobs: Any = None,
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": logprobs}
        if self.is_chat:
            choice["delta"] = {"content": text, **(more or {})}
        else:
            choice["text"] = text
        return {"choices": [choice], "usage": None}

    # --- bytes ------------------------------------------------------------------------------

    def start(self, status: int, headers: dict[str, Any]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send_json(
        self, value: Any, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        text = json.dumps(value).encode()
        kind = {"Content-Type": "application/json; charset=utf-8", "Content-Length": len(text)}
        self.start(status, {**kind, **(headers or {})})
        self.wfile.write(text)

    def start_events(self, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        self.start(200, {**kind, **(headers or {})})

    def send_event(self, event: dict[str, Any]) -> None:
        self.write_chunk(f"data: {json.dumps(event)}\n\n".encode())

    def write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def end_events(self, *, done: bool = False) -> None:
        if done:
            self.write_chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def wait_for_hang_up(self, released: threading.Event | None = None) -> bool:
        """Wait until the client leaves (True) or the event is set (False)."""
        while released is None or not released.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                with self.server.lock:
                    self.server.stats.hung_up += 1
                    self.server.lock.notify_all()
                self.close_connection = True
                return True
        return False


def main() -> None:
    server = Endpoint()
    print(server.server_address[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
