"""Mirrors for tests: written from entries alone, and served over loopback HTTP by somebody who may be hostile."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING, Any

from tlog.core.bundle import format_bundle
from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import Checkpoint, sign_checkpoint
from tlog.core.making.integrate import integrate
from tlog.core.merkle import HASH_SIZE, Frontier, leaf_hash
from tlog.core.strict import encode_base64
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tlog.core.note import Signer

# Answers to GET: status, headers, parts of the body.
Answer = tuple[int, dict[str, str], "Sequence[bytes]"]


def write_mirror(directory: Path, entries: Sequence[bytes], signer: Signer) -> Checkpoint:
    """Write the static files of a log of `entries`; return its checkpoint."""
    hashes = [leaf_hash(entry) for entry in entries]
    frontier, chain = Frontier(), CHAIN_START
    frontier.extend(hashes)
    for each in hashes:
        chain = chain_hash(chain, each)
    files = {
        Tile(level, index, len(data) // HASH_SIZE).path(): data
        for (level, index), data in integrate(0, {}, hashes).items()
    }
    for start in range(0, len(entries), TILE_WIDTH):
        bundle = entries[start : start + TILE_WIDTH]
        files[Tile(ENTRIES, start // TILE_WIDTH, len(bundle)).path()] = format_bundle(bundle)
    checkpoint = Checkpoint(signer.verifier.name, len(entries), frontier.root())
    files["chain"] = b"%d\n%b\n" % (len(entries), encode_base64(chain))
    files["checkpoint"] = sign_checkpoint(checkpoint, signer)
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return checkpoint


@contextlib.contextmanager
def serving(answer: Callable[[str], Answer]) -> Iterator[str]:
    """Serve what `answer` returns for a path; yields the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, parts = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            with contextlib.suppress(OSError):  # a client that has had enough hangs up
                for part in parts:
                    self.wfile.write(part)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def files_below(directory: Path) -> Callable[[str], Answer]:
    """Return what answers as a plain file server would."""

    def answer(path: str) -> Answer:
        file = directory / path.lstrip("/")
        return (200, {}, [file.read_bytes()]) if file.is_file() else (404, {}, [b"no such file"])

    return answer
