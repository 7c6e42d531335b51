"""A service that answers as a test wants it, and keeps what was sent to it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ACTOR = {"userId": "dr.weiss"}
RESOURCE = {"type": "patient_record", "id": "patient-1042"}


class FakeLog:
    """Answers requests with what `script` holds, one after another, and then as a log would that takes everything."""

    def __init__(self) -> None:
        self.script: list[Callable[[list[bytes]], tuple[int, dict[str, str], Any]] | None] = []
        self.requests: list[tuple[str, bytes]] = []
        self.taken: list[dict[str, Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fake.requests.append((self.path, body))
                lines = body.split(b"\n")
                answer = fake.script.pop(0) if fake.script else takes
                if answer is None:  # it goes away without an answer
                    self.close_connection = True
                    return
                status, fields, document = answer(lines)
                if status in (200, 201) and isinstance(document, dict):
                    fake.taken += map(json.loads, lines)
                data = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                for name, value in {**fields, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(ConnectionError):  # who sent it was killed
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def takes(lines: list[bytes], **more: Any) -> tuple[int, dict[str, str], Any]:
    return 201, {}, {"count": len(lines), "duplicates": 0, "lastIndex": 7, "chainHash": "x", **more}


def problem(status: int, errors: list[dict[str, str]] | None = None, **fields: str):
    document = {"title": "No", "detail": "not so", "status": status, **({} if errors is None else {"errors": errors})}
    return lambda _: (status, {name.replace("_", "-"): value for name, value in fields.items()}, document)


def wait_for(condition: Callable[[], object], what: str = "what was waited for") -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def held(until: threading.Event):
    """Return an answer that comes once an event is set."""
    return lambda lines: takes(lines) if until.wait(20) else problem(500)(lines)
