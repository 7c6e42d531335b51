"""Mirrors: the sealed log as somebody else holds it, read from a directory or over HTTP.

Reads the layout of c2sp.org/tlog-tiles, as `tlog export --static` writes it and as every log's service serves it:

    <mirror>/checkpoint         <mirror>/tile/<L>/<N>[.p/<W>]         <mirror>/tile/entries/<N>[.p/<W>]
    <mirror>/chain              tree size and chain hash, in exports of this program

What is read has the right form and a bounded size; nothing else is promised. The caller compares it with a root hash that
the caller trusts. Left out: writing, caching, retrying, redirects, compression, and any judgement of what was read.

Everything waits for the disk or the network in the calling thread. One thread at a time uses a mirror.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from tlog.checking.exchange import BoundedBackend, HeadError, TooSlowError
from tlog.core.bundle import MAX_ENTRY_SIZE, parse_bundle
from tlog.core.merkle import HASH_SIZE
from tlog.core.strict import parse_base64, parse_decimal
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile
from tlog.errors import MalformedInputError, NotCheckedError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHECKPOINT_SIZE: Final = 65_536
_MAX_CHAIN_SIZE: Final = 128
_MAX_TILE_SIZE: Final = TILE_WIDTH * HASH_SIZE
_MAX_BUNDLE_SIZE: Final = TILE_WIDTH * (2 + MAX_ENTRY_SIZE)
_CHAIN_LINES: Final = 3  # tree size, chain hash, and the empty string after the last newline
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_WAIT_SECONDS: Final = 20.0  # for a connection, and between two parts of an answer
_ANSWER_SECONDS: Final = 120.0  # from connecting on: who sends a byte now and then does not hold us up for ever
_HEADERS: Final[dict[bytes | str, bytes | str]] = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "tlog"}
_AWAY: Final = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError)
_NOT_FOUND: Final = (404, 410)
_SERVER_ERROR: Final = 500
_OK: Final = 200
_GONE: Final = (errno.ENOENT, errno.ENOTDIR)


class Source(Protocol):
    """Where the files of a mirror are."""

    name: str

    def read(self, path: str, limit: int) -> bytes | None:
        """Return the file at `path` below the mirror's top, None if there is none.

        Raises:
            MalformedInputError: it has more than `limit` bytes, or is no plain file.
            NotCheckedError: it is refused.
            OverloadedError: it cannot be had now.

        """


class Mirror:
    """A mirror; sizes and positions are the caller's, and so is the judgement."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """The directory or URL it is at, for messages."""
        return self._source.name

    def checkpoint(self) -> bytes:
        """Return the bytes of its checkpoint: a signed note, not opened.

        Raises:
            NotCheckedError: there is none, or it is refused.
            MalformedInputError: it is too large.
            OverloadedError: the mirror cannot be reached.

        """
        return self._present("checkpoint", MAX_CHECKPOINT_SIZE)

    def chain(self) -> tuple[int, bytes] | None:
        """Return the tree size and the 32-byte chain hash of an export, None for a mirror that has no such file.

        Raises:
            NotCheckedError: it is refused.
            MalformedInputError: it is too large, or something else.
            OverloadedError: the mirror cannot be reached.

        """
        data = self._source.read("chain", _MAX_CHAIN_SIZE)
        if data is None:
            return None
        lines = data.split(b"\n")
        if len(lines) != _CHAIN_LINES or lines[-1]:
            message = f"{self.name}: the file 'chain' has not exactly two lines, tree size and chain hash"
            raise MalformedInputError(message)
        return parse_decimal(lines[0], "the tree size in 'chain'"), parse_base64(lines[1], "the chain hash", HASH_SIZE)

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """Return the first `width` hashes of a tile, 32 bytes each.

        Args:
            level: 0 to 63.
            index: of the tile in its level.
            width: 1 to 256, as the tree of the mirror's own checkpoint has it (`tlog.core.tile.tile_width`).

        Raises:
            NotCheckedError: the mirror has neither this tile nor the full one in its place, or refuses it.
            MalformedInputError: it has another size.
            OverloadedError: the mirror cannot be reached.

        """
        tile, data = self._tile(Tile(level, index, width), _MAX_TILE_SIZE)
        if len(data) != tile.width * HASH_SIZE:
            message = f"{self.name}: {tile.path()} has {len(data)} bytes, not {tile.width * HASH_SIZE}"
            raise MalformedInputError(message)
        return data[: width * HASH_SIZE]

    def entries(self, index: int, width: int = TILE_WIDTH) -> list[bytes]:
        """Return the first `width` entries of entry bundle `index`: those from index * 256 on.

        Args:
            index: of the bundle.
            width: 1 to 256, as the tree of the mirror's own checkpoint has it.

        Raises:
            NotCheckedError: the mirror has neither this bundle nor the full one in its place, or refuses it.
            MalformedInputError: it does not consist of as many entries as its name says.
            OverloadedError: the mirror cannot be reached.

        """
        tile, data = self._tile(Tile(ENTRIES, index, width), _MAX_BUNDLE_SIZE)
        try:
            return parse_bundle(data, tile.width)[:width]
        except MalformedInputError as error:
            message = f"{self.name}: {tile.path()}: {error}"
            raise MalformedInputError(message) from None

    def _tile(self, tile: Tile, limit: int) -> tuple[Tile, bytes]:
        """Return a tile, or the full one that has replaced it, and its bytes."""
        data = self._source.read(tile.path(), limit)
        if data is None and tile.width < TILE_WIDTH:
            # c2sp.org/tlog-tiles: partial tiles may be deleted once the full tile is there.
            full = tile._replace(width=TILE_WIDTH)
            data = self._source.read(full.path(), limit)
            if data is not None:
                return full, data
        if data is None:
            raise NotCheckedError(_missing(self.name, tile.path()))
        return tile, data

    def _present(self, path: str, limit: int) -> bytes:
        data = self._source.read(path, limit)
        if data is None:
            raise NotCheckedError(_missing(self.name, path))
        return data


@contextmanager
def open_mirror(where: str) -> Iterator[Mirror]:
    """Open the mirror at a directory, or at an https:// URL (http:// on this machine only).

    Raises:
        MalformedInputError: the URL is not one a mirror can have.
        NotCheckedError: there is no such directory.

    """
    if "://" not in where:
        yield Mirror(_Directory(Path(where)))
        return
    url, bounds = _check_url(where), BoundedBackend()
    with _pool_for(httpx2.URL(url), bounds) as http:
        yield Mirror(_Remote(url, http, bounds))


class _Directory:
    """A mirror's files below a directory."""

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            message = f"{directory} is not a directory; give the one that 'tlog export --static' wrote, or a URL"
            raise NotCheckedError(message)
        self.name = str(directory)
        self._directory = directory

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Source`."""
        try:
            # Does not wait for whoever writes into a named pipe.
            descriptor = os.open(self._directory / path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in _GONE:
                return None
            message = f"{self.name}: {path} cannot be read ({error.strerror})"
            raise NotCheckedError(message) from error
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                message = f"{self.name}: {path} is not a plain file"
                raise MalformedInputError(message)
            data = file.read(limit + 1)
        if len(data) > limit:
            raise MalformedInputError(_too_large(self.name, path, limit))
        return data


class _Remote:
    """A mirror's files below a URL."""

    def __init__(self, url: str, http: httpcore2.ConnectionPool, bounds: BoundedBackend) -> None:
        self.name = self._base = url
        self._http = http
        self._bounds = bounds

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Source`."""
        self._bounds.begin(_ANSWER_SECONDS)
        waits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _WAIT_SECONDS)}
        try:
            with self._http.stream("GET", f"{self._base}/{path}", headers=_HEADERS, extensions=waits) as answer:
                if answer.status in _NOT_FOUND:
                    return None
                self._check(answer, path)
                data = bytearray()
                for part in answer.iter_stream():
                    data += part
                    if len(data) > limit:
                        raise MalformedInputError(_too_large(self.name, path, limit))
                return bytes(data)
        except TooSlowError as error:
            message = f"{self.name}: {path} did not arrive within {_ANSWER_SECONDS:.0f} s"
            raise OverloadedError(message) from error
        except HeadError as error:
            message = f"{self.name} {error} when asked for {path}"
            raise MalformedInputError(message) from error
        except _AWAY as error:
            message = f"{self.name} cannot be reached ({type(error).__name__}); the same call may be repeated"
            raise OverloadedError(message) from error

    def _check(self, answer: httpcore2.Response, path: str) -> None:
        if answer.status >= _SERVER_ERROR:
            message = f"{self.name}: {path} was answered with status {answer.status}; the same call may be repeated"
            raise OverloadedError(message)
        if answer.status != _OK:
            # Redirects among them: where they lead is not what was asked for.
            message = f"{self.name}: {path} was answered with status {answer.status}, and redirects are not followed"
            raise NotCheckedError(message)
        if any(name.lower() == b"content-encoding" and value != b"identity" for name, value in answer.headers):
            message = f"{self.name}: {path} is compressed, which was not asked for"
            raise MalformedInputError(message)


def _pool_for(url: httpx2.URL, bounds: BoundedBackend) -> httpcore2.ConnectionPool:
    """Return what connects to a mirror: through the proxy that the environment names, if it names one."""
    proxy = None if url.host in _LOOPBACK or proxy_bypass(url.host) else getproxies().get(url.scheme)
    trusted = httpx2.create_ssl_context()
    if proxy is None or not proxy.startswith(("http://", "https://")):
        return httpcore2.ConnectionPool(ssl_context=trusted, network_backend=bounds)
    parts = httpx2.URL(proxy)
    return httpcore2.HTTPProxy(
        str(parts.copy_with(userinfo=b"")),
        proxy_auth=(parts.username, parts.password) if parts.username else None,
        ssl_context=trusted,
        network_backend=bounds,
    )


def _check_url(url: str) -> str:
    """Return the URL of a mirror without a slash at its end.

    Raises:
        MalformedInputError: it is not https (or http on this machine), or has more than host, port and path.

    """
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    plain = parts.host and not parts.userinfo and not parts.query and not parts.fragment
    if not plain or not url.isascii() or any(character in url for character in " ?#\\"):
        # The URL is not repeated here: it may hold a password.
        message = "a mirror's URL has a host, perhaps a port and a path, and nothing else"
        raise MalformedInputError(message)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.host in _LOOPBACK):
        message = "a mirror's URL begins with https://; http:// is for this machine only"
        raise MalformedInputError(message)
    return url.rstrip("/")


def _missing(name: str, path: str) -> str:
    return f"{name} has no {path}; the mirror is incomplete, or this is none"


def _too_large(name: str, path: str, limit: int) -> str:
    return f"{name}: {path} is larger than the {limit:,} bytes it may have"
