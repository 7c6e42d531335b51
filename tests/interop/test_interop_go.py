"""A served log, read and verified by code that is not ours: Go's x/mod packages (see interop/README.md).

The first tests check the Go program itself against static logs that a deliberately naive implementation in
this file builds from RFC 6962 and the C2SP texts: it has to accept the good ones and to name what is wrong
with each bad one. The last test points it at the real server. Nothing here imports tlog's tree, note or
tile code, but for fork files, on which both have to agree.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import http.server
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from witnessing import FORK_SEED, LeafLog

from tlog.core.fork import find_fork, format_fork, make_fork
from tlog.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(__file__).parent
ORIGIN = "example.com/interop"
WIDTH = 256
BUILD_SECONDS = 300
RUN_SECONDS = 60
# What the go command says when a module or a toolchain cannot be had. Anything else that stops a build, above
# all a checksum mismatch, is a failure everywhere.
UNAVAILABLE = re.compile(
    r"dial tcp|no such host|network is unreachable|connection (?:refused|reset)|i/o timeout"
    r"|TLS handshake timeout|proxyconnect|module lookup disabled by GOPROXY=off"
    r"|requires go >= |toolchain not available"
)


# --- The Go program -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interop:
    """The built Go program."""

    program: Path

    def run(self, url: str, vkey: str, index: int, **files: Path) -> subprocess.CompletedProcess[str]:
        """Run the program once; `files` are its optional flags `entry` and `old`."""
        flags = [f"-{name}={path}" for name, path in files.items()]
        command = [str(self.program), f"-url={url}", f"-vkey={vkey}", f"-index={index}", *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)

    def accepted(self, url: str, vkey: str, index: int, **files: Path) -> dict[str, Any]:
        """Return what the program reports as verified; fail the test unless it accepts."""
        done = self.run(url, vkey, index, **files)
        assert (done.returncode, done.stderr) == (0, "")
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["index"] == index
        assert report["entryCompared"] == ("entry" in files)
        assert ("consistentFrom" in report) == ("old" in files)
        return report

    def rejected(self, message: str, url: str, vkey: str, index: int, **files: Path) -> None:
        """Fail the test unless the program rejects with an error that matches the expression `message`."""
        done = self.run(url, vkey, index, **files)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.search(message, done.stderr), done.stderr


@pytest.fixture(scope="session")
def interop(tmp_path_factory: pytest.TempPathFactory) -> Interop:
    """Build the Go program once; skip where Go, or (outside CI) the module it needs, cannot be had."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed: the log was not read by the foreign client")
    program = tmp_path_factory.mktemp("interop") / "interop"
    build = subprocess.run(
        [go, "build", "-mod=readonly", "-buildvcs=false", "-o", str(program), "."],
        cwd=SOURCE,
        # A go.work above the checkout must not choose other modules than go.mod does.
        env=os.environ | {"GOWORK": "off"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if build.returncode != 0:
        if UNAVAILABLE.search(build.stderr) and os.environ.get("CI") != "true":
            pytest.skip(f"the Go module of tests/interop cannot be had here: {build.stderr.strip()}")
        pytest.fail(f"go build of tests/interop failed: {build.stderr.strip()}")
    return Interop(program)


# --- A naive log --------------------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(data).decode()


def tree_hash(leaves: list[bytes]) -> bytes:
    """Return RFC 6962 section 2.1's MTH over leaf hashes, straight from its recursive definition."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


@dataclass(frozen=True)
class Key:
    """An Ed25519 note key (C2SP signed-note, signature type 0x01)."""

    name: str
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        """The type byte and the 32-byte public key."""
        return b"\x01" + self.private.public_key().public_bytes_raw()

    @property
    def key_id(self) -> bytes:
        """The 4-byte key ID."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The verifier key: name+ID+key."""
        return f"{self.name}+{self.key_id.hex()}+{b64(self.public)}"

    def sign(self, text: str) -> bytes:
        """Return the signed note of `text`."""
        signature = self.key_id + self.private.sign(text.encode())
        return f"{text}\n\u2014 {self.name} {b64(signature)}\n".encode()


KEY = Key(ORIGIN)


@dataclass
class StaticLog:
    """A log as files: path to bytes, free to be tampered with, and the paths that were asked for."""

    entries: list[bytes]
    leaves: list[bytes]
    files: dict[str, bytes]
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The tree size."""
        return len(self.entries)

    @property
    def text(self) -> str:
        """The text of the checkpoint."""
        return f"{ORIGIN}\n{self.size}\n{b64(tree_hash(self.leaves))}\n"

    def flip(self, path: str, offset: int) -> None:
        """Change the lowest bit of one byte of a file."""
        data = bytearray(self.files[path])
        data[offset] ^= 1
        self.files[path] = bytes(data)


def cut(prefix: str, items: list[bytes]) -> dict[str, bytes]:
    """Return the tiles that hold `items` in order, 256 each, the last one partial (indexes below 1000)."""
    tiles = {}
    for first in range(0, len(items), WIDTH):
        part = items[first : first + WIDTH]
        suffix = "" if len(part) == WIDTH else f".p/{len(part)}"
        tiles[f"/tile/{prefix}/{first // WIDTH:03d}{suffix}"] = b"".join(part)
    return tiles


def static_log(size: int, label: str = "entry") -> StaticLog:
    """Build a log of `size` entries of different lengths; logs of one label are prefixes of each other."""
    entries = [f"{label} {index} ".encode() + b"." * (index % 40) for index in range(size)]
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    files = cut("entries", [len(entry).to_bytes(2) + entry for entry in entries])
    level, span = 0, 1
    while size >= span:
        whole = range(0, size - size % span, span)
        files |= cut(str(level), [tree_hash(leaves[first : first + span]) for first in whole])
        level, span = level + 1, span * WIDTH
    log = StaticLog(entries, leaves, files)
    log.files["/checkpoint"] = KEY.sign(log.text)
    return log


@contextlib.contextmanager
def serving(log: StaticLog) -> Iterator[str]:
    """Serve a static log over HTTP on a loopback port; yield its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            log.requests.append(self.path)
            body = log.files.get(self.path, b"")
            self.send_response(302 if self.path in log.redirects else 200 if self.path in log.files else 404)
            self.send_header("Content-Length", str(len(body)))
            if self.path in log.redirects:
                self.send_header("Location", log.redirects[self.path])
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client hangs up on what is too long
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def written(path: Path, data: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(data)
    return path


# --- Good static logs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 513, 600])
def test_static_log_is_accepted(size: int, interop: Interop, tmp_path: Path) -> None:
    log = static_log(size)
    with serving(log) as url:
        for index in sorted({0, size // 2, (size - 1) // WIDTH * WIDTH, size - 1}):
            entry = written(tmp_path / "entry", log.entries[index])
            assert interop.accepted(url, KEY.vkey, index, entry=entry) == {
                "origin": ORIGIN,
                "size": size,
                "root": b64(tree_hash(log.leaves)),
                "index": index,
                "leafHash": b64(log.leaves[index]),
                "bundleEntries": min(WIDTH, size - index // WIDTH * WIDTH),
                "entryCompared": True,
            }


@pytest.mark.parametrize(
    ("old", "new"),
    [(0, 1), (1, 1), (1, 2), (3, 7), (255, 256), (256, 257), (256, 600), (511, 513), (600, 600)],
)
def test_growth_of_static_log_is_accepted(old: int, new: int, interop: Interop, tmp_path: Path) -> None:
    checkpoint = written(tmp_path / "old", static_log(old).files["/checkpoint"])
    with serving(static_log(new)) as url:
        assert interop.accepted(url, KEY.vkey, new - 1, old=checkpoint)["consistentFrom"] == old


def test_full_tile_stands_in_for_a_partial_one_that_is_gone(interop: Interop) -> None:
    log = static_log(600)
    log.files["/checkpoint"] = static_log(255).files["/checkpoint"]
    with serving(log) as url:
        assert interop.accepted(url, KEY.vkey, 254)["size"] == WIDTH - 1
    assert log.requests[1:3] == ["/tile/entries/000.p/255", "/tile/entries/000"]
    assert {"/tile/0/000.p/255", "/tile/0/000"} <= set(log.requests)


# --- Bad static logs ----------------------------------------------------------------------------------------


def resign(log: StaticLog, text: str) -> None:
    """Serve a checkpoint with another text, properly signed."""
    log.files["/checkpoint"] = KEY.sign(text)


def change_root(log: StaticLog, *, signed: bool) -> None:
    """Put another root into the checkpoint."""
    old, new = b64(tree_hash(log.leaves)), b64(hashlib.sha256(b"other").digest())
    if signed:
        resign(log, log.text.replace(old, new))
    else:
        log.files["/checkpoint"] = log.files["/checkpoint"].replace(old.encode(), new.encode())


def sign_twice(log: StaticLog) -> None:
    """Put a signature line of the log's key that does not verify before the good one."""
    forged = KEY.sign(log.text + "more\n").rpartition(b"\n\n")[2]
    text, _, good = log.files["/checkpoint"].rpartition(b"\n\n")
    log.files["/checkpoint"] = text + b"\n\n" + forged + good


def replace_entry(log: StaticLog, index: int) -> None:
    """Put another entry into a bundle, well formed."""
    path = f"/tile/entries/{index // WIDTH:03d}"
    old, new = log.entries[index], b"forged"
    old, new = len(old).to_bytes(2) + old, len(new).to_bytes(2) + new
    assert old in log.files[path]
    log.files[path] = log.files[path].replace(old, new, 1)


def rewrite(log: StaticLog, index: int) -> None:
    """Replace an entry and its leaf hash in the level 0 tile, so that only the level above tells."""
    replace_entry(log, index)
    path = f"/tile/0/{index // WIDTH:03d}"
    leaf = hashlib.sha256(b"\x00forged").digest()
    log.files[path] = log.files[path].replace(log.leaves[index], leaf)


def append_to(log: StaticLog, path: str, data: bytes) -> None:
    """Lengthen a file."""
    log.files[path] += data


def shorten(log: StaticLog, path: str) -> None:
    """Take a file's last byte."""
    log.files[path] = log.files[path][:-1]


def loosen_root(log: StaticLog) -> None:
    """Sign another base64 spelling of the right root: trailing bits that a lenient decoder drops."""
    root = b64(tree_hash(log.leaves))
    loose = root[:-2] + chr(ord(root[-2]) + 1) + "="
    assert base64.b64decode(loose) == base64.b64decode(root)
    resign(log, log.text.replace(root, loose))


def redirect(log: StaticLog, path: str) -> None:
    """Move a file to another path and answer the old one with a redirect."""
    log.files["/moved"] = log.files.pop(path)
    log.redirects[path] = "/moved"


INCONSISTENT = "inconsistent tile"
MALFORMED_SIZE = "tree size .* malformed"
# Name of the defect, what makes it in a log of 600 entries, what the program says about index 5.
DEFECTS: dict[str, tuple[Callable[[StaticLog], None], str]] = {
    "tile-level-0-byte": (lambda log: log.flip("/tile/0/000", 5 * 32), INCONSISTENT),
    "tile-level-0-byte-of-another-leaf": (lambda log: log.flip("/tile/0/000", -1), INCONSISTENT),
    "tile-level-0-partial-byte": (lambda log: log.flip("/tile/0/002.p/88", 0), INCONSISTENT),
    "tile-level-1-byte": (lambda log: log.flip("/tile/1/000.p/2", 0), INCONSISTENT),
    "tile-level-1-byte-of-another-subtree": (lambda log: log.flip("/tile/1/000.p/2", 63), INCONSISTENT),
    "tile-too-short": (lambda log: shorten(log, "/tile/0/000"), "8191 bytes instead of 8192"),
    "tile-too-long": (lambda log: append_to(log, "/tile/1/000.p/2", bytes(32)), "96 bytes instead of 64"),
    "tile-above-limit": (lambda log: append_to(log, "/tile/0/000", b"\0"), "more than 8192 bytes"),
    "tile-missing": (lambda log: log.files.__delitem__("/tile/0/000"), "tile/0/000: 404"),
    "tile-redirected": (lambda log: redirect(log, "/tile/0/000"), "tile/0/000: 302"),
    "entry-replaced": (lambda log: replace_entry(log, 5), "entry 5 does not hash to its leaf"),
    "entry-byte": (lambda log: log.flip("/tile/entries/000", 3), "entry 0 does not hash to its leaf"),
    "entry-of-same-bundle-replaced": (
        lambda log: replace_entry(log, 255),
        "entry 255 does not hash to its leaf",
    ),
    "entry-and-leaf-hash-replaced": (lambda log: rewrite(log, 5), INCONSISTENT),
    "bundle-too-short": (lambda log: shorten(log, "/tile/entries/000"), "ends within its entry 255"),
    "bundle-length-overrun": (lambda log: log.flip("/tile/entries/000", 0), r"ends within its entry \d+"),
    "bundle-trailing-byte": (
        lambda log: append_to(log, "/tile/entries/000", b"\0"),
        "1 bytes after its last entry",
    ),
    "bundle-above-limit": (
        lambda log: append_to(log, "/tile/entries/000", bytes(1 << 24)),
        "more than 16777472 bytes",
    ),
    "root-not-signed": (lambda log: change_root(log, signed=False), "invalid signature"),
    "root-signed": (lambda log: change_root(log, signed=True), INCONSISTENT),
    "root-spelled-otherwise": (loosen_root, "root hash .* malformed"),
    "root-of-33-bytes": (lambda log: resign(log, log.text.replace("=\n", "A\n")), "root hash .* malformed"),
    "size-smaller": (lambda log: resign(log, log.text.replace("\n600\n", "\n599\n")), "0/002: 404"),
    "size-larger": (lambda log: resign(log, log.text.replace("\n600\n", "\n601\n")), "0/002: 404"),
    "size-zero": (lambda log: resign(log, log.text.replace("\n600\n", "\n0\n")), "not in a tree of size 0"),
    "size-leading-zero": (lambda log: resign(log, log.text.replace("\n600\n", "\n0600\n")), MALFORMED_SIZE),
    "size-plus-sign": (lambda log: resign(log, log.text.replace("\n600\n", "\n+600\n")), MALFORMED_SIZE),
    "size-huge": (lambda log: resign(log, log.text.replace("600", str(2**63 - 1))), MALFORMED_SIZE),
    "extension-line": (lambda log: resign(log, log.text + "extension\n"), "not exactly three lines"),
    "origin-of-another-log": (lambda log: resign(log, "x" + log.text), "is not the key's name"),
    "signature-of-known-key-wrong": (sign_twice, "invalid signature"),
    "checkpoint-missing": (lambda log: log.files.__delitem__("/checkpoint"), "checkpoint: 404"),
    "checkpoint-redirected": (lambda log: redirect(log, "/checkpoint"), "checkpoint: 302"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_tampered_static_log_is_rejected(defect: str, interop: Interop) -> None:
    tamper, message = DEFECTS[defect]
    log = static_log(600)
    with serving(log) as url:
        interop.accepted(url, KEY.vkey, 5)
        tamper(log)
        interop.rejected(message, url, KEY.vkey, 5)


def test_other_keys_are_rejected(interop: Interop) -> None:
    log = static_log(3)
    with serving(log) as url:
        interop.rejected("no verifiable signatures", url, Key(ORIGIN).vkey, 0)
        interop.rejected("no verifiable signatures", url, Key("example.com/other", KEY.private).vkey, 0)
        interop.rejected("-vkey", url, KEY.vkey.replace("+", "+0", 1), 0)


def test_other_questions_are_rejected(interop: Interop, tmp_path: Path) -> None:
    log = static_log(257)
    entry = written(tmp_path / "entry", log.entries[1])
    with serving(log) as url:
        interop.accepted(url, KEY.vkey, 1, entry=entry)
        interop.rejected("not the bytes given by -entry", url, KEY.vkey, 2, entry=entry)
        interop.rejected("not in a tree of size 257", url, KEY.vkey, 257)
        interop.rejected("not in a tree of size 257", url, KEY.vkey, -1)


def test_older_checkpoints_that_contradict_are_rejected(interop: Interop, tmp_path: Path) -> None:
    fork = static_log(256, "fork").files["/checkpoint"]
    same_size = static_log(600, "fork").files["/checkpoint"]
    longer = static_log(601).files["/checkpoint"]
    not_empty = KEY.sign(f"{ORIGIN}\n0\n{b64(bytes(32))}\n")
    foreign = Key(ORIGIN).sign(static_log(256).text)
    rows = {
        "consistency proof": [fork, same_size],
        "the log shrank": [longer],
        "root other than the empty tree's": [not_empty],
        "-old: .*no verifiable signatures": [foreign],
    }
    with serving(static_log(600)) as url:
        for message, notes in rows.items():
            for note in notes:
                interop.rejected(message, url, KEY.vkey, 5, old=written(tmp_path / "old", note))


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1",
        "http://localhost",
        "http://127.0.0.1.example.com",
        "http://user@127.0.0.1",
        "http://127.0.0.1/?query",
        "https://127.0.0.1",
        "file:///etc",
        "",
    ],
)
def test_only_plain_loopback_urls_are_contacted(url: str, interop: Interop) -> None:
    interop.rejected("^interop: -url: ", url, KEY.vkey, 0)


# --- The real server ----------------------------------------------------------------------------------------


class RunningServer(Protocol):
    """What the fixture `running_server` gives: the real server on a loopback port, and its log's key."""

    url: str
    vkey: str

    def append(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Append events and return their receipts."""

    def seal(self) -> object:
        """Return once everything appended so far is covered by the served checkpoint."""


def fetched(url: str, path: str) -> bytes:
    """Return a resource of the server."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=RUN_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == http.client.OK
        return response.read()


def test_real_server(running_server: RunningServer, interop: Interop, tmp_path: Path) -> None:
    from tlog.demo.hospital import hospital_day  # noqa: PLC0415 -- the static logs above are tested without tlog

    url, vkey = running_server.url, running_server.vkey
    events = list(itertools.islice(hospital_day(), 700))
    assert len(events) == 700
    receipts = running_server.append(events[:300])
    running_server.seal()
    old = written(tmp_path / "old", fetched(url, "/checkpoint"))
    receipts += running_server.append(events[300:])
    running_server.seal()

    by_index = {receipt["index"]: receipt for receipt in receipts}
    assert len(by_index) == len(events)
    last = max(by_index)
    # Leaf 0 is the control entry; the others sit at the edges of bundles and of what each request appended.
    edges = {255, 256, 511, 512} & by_index.keys()
    for index in sorted(edges | {0, receipts[0]["index"], receipts[299]["index"], receipts[300]["index"], last}):
        report = interop.accepted(url, vkey, index, old=old)
        assert report["origin"] == vkey.partition("+")[0]
        assert last < report["size"]
        assert receipts[299]["index"] < report["consistentFrom"] <= receipts[300]["index"]
        if index in by_index:
            assert report["leafHash"] == by_index[index]["leafHash"]

    # Negative controls: the same server, asked for something it does not hold.
    interop.rejected("no verifiable signatures", url, Key(vkey.partition("+")[0]).vkey, last)
    other = written(tmp_path / "entry", json.dumps(events[-1]).encode())
    interop.rejected("not the bytes given by -entry", url, vkey, last, entry=other)
    stranger = written(tmp_path / "stranger", Key(ORIGIN).sign(static_log(300).text))
    interop.rejected("-old: ", url, vkey, last, old=stranger)


def test_a_fork_file_convicts_by_code_that_is_not_ours(interop: Interop, tmp_path: Path) -> None:
    """What `tlog.core.fork` says of forks and of honest pairs, and what Go says, is the same."""
    log, other = LeafLog(), LeafLog(other=FORK_SEED)
    for first, second in itertools.combinations_with_replacement((1, 5, 8, 100), 2):
        for small, convicted in ((other, True), (log, False)):
            file = tmp_path / "fork.json"
            fork = make_fork(small.note(first), log.note(second), log.root(first), log.proof(first, second))
            file.write_bytes(format_fork(fork))
            command = [interop.program, "-vkey", log.signer.verifier.vkey(), "-fork", file]
            done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
            assert (done.returncode == 0) == convicted, done.stderr
            try:
                find_fork(log.signer.verifier, fork)
            except VerificationError:
                assert not convicted
            else:
                assert convicted
